from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from benchmarks.estimators.__main__ import run
from benchmarks.estimators.nuisances import RightAssignment, RightOutcome, WrongOutcome
from benchmarks.estimators.replication import replicate, target
from benchmarks.estimators.summary import bars, table
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel
from causalopt.simulation import FiniteWorld


@pytest.fixture(scope="module")
def world() -> FiniteWorld:
    return target("confounded").world


@pytest.mark.parametrize("model", [RightOutcome, WrongOutcome])
def test_means_of_an_outcome_model_are_those_of_its_predictions(world: FiniteWorld, model: type[RightOutcome]) -> None:
    sample = world.sample_arrays(400, seed=1)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 400)
    fitted = model().fit(sample.x, sample.w, sample.y, weight)
    assert isinstance(fitted, OutcomeModel)
    x, w = world.embedding[:5], sample.w
    grid = np.array([[fitted.predict(a[None], b[None])[0] for b in w] for a in x])
    np.testing.assert_allclose(fitted.marginal(x, w, weight), np.average(grid, axis=1, weights=weight), atol=1e-10)
    np.testing.assert_allclose(fitted.reader_response(x, w), grid.mean(axis=0), atol=1e-10)


def test_the_right_models_are_right(world: FiniteWorld) -> None:
    sample = world.sample_arrays(50_000, seed=2)
    one = np.ones(len(sample.y))
    outcome = RightOutcome().fit(sample.x, sample.w, sample.y, one)
    m = world.outcome_mean[sample.reader, sample.text]
    assert np.abs(outcome.predict(sample.x, sample.w) - m).max() < 0.1
    assignment = RightAssignment(world).fit(sample.x, sample.w, one)
    assert isinstance(assignment, AssignmentModel)
    s = np.exp(world.log_behavior[sample.text] - world.log_assignment[sample.reader, sample.text])
    error = np.log(assignment.stabilized_weight(sample.x, sample.w)) - np.log(s)
    assert np.abs(error).max() < 0.15


def test_a_replication_is_reproducible_and_complete() -> None:
    first, second = replicate("confounded", 400, 3), replicate("confounded", 400, 3)
    assert first == second
    frame = pd.DataFrame(first)
    cells = frame.groupby(["outcome_model", "assignment_model"])["estimator"].nunique()
    assert cells["right", "wrong"] == cells["wrong", "right"] == 8
    assert cells["none", "right"] == 3
    assert (frame["truth"] == target("confounded").truth).all()
    assert (frame["ci_low"] < frame["estimate"]).all()


def test_a_run_leaves_its_files_and_its_bars(tmp_path: Path) -> None:
    found = run(tmp_path, replications=3, sizes=(300, 600), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 2 * 2 * 3 * (1 + 2 * 3 + 4 * 8)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [bar["name"] for bar in summary["bars"]] == [bar.name for bar in found]
    assert all(isinstance(bar["holds"], bool) for bar in summary["bars"])
    assert summary["settings"]["worlds"]["confounded"]["confounding"] == 0.4
    assert "| 600 | `sndr` |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plots.html").stat().st_size > 1_000_000


def test_bars_see_what_they_should() -> None:
    """Take away the coverage, add a bias, or make dr as noisy as ipw, in one cell of a table in which all is well."""
    good = table(_ideal_results())
    assert all(bar.holds for bar in bars(good))

    def failing(column: str, value: float, **cell: object) -> list[str]:
        broken = good.copy()
        where = np.logical_and.reduce([broken[name] == level for name, level in cell.items()])
        broken.loc[where, column] = value
        return [bar.name for bar in bars(broken) if not bar.holds]

    both = {"outcome_model": "right", "assignment_model": "right"}
    one = {"outcome_model": "wrong", "assignment_model": "right", "design": "confounded"}
    neither = {"outcome_model": "wrong", "assignment_model": "wrong", "design": "confounded"}
    assert failing("coverage", 0.92, estimator="sndr", **both) == ["lowest coverage of dr and sndr, both models right"]
    assert failing("coverage", 0.98, estimator="dr", **both) == ["highest coverage of dr and sndr, both models right"]
    assert failing("coverage", 0.89, estimator="dr", **one) == ["lowest coverage of dr and sndr, one model right"]
    assert "naive bias" in failing("bias", 0.1, estimator="dr", n=500, **one)[0]
    noisy = failing("rmse", 10.0, estimator="dr", **one)
    assert [name.split(",")[0] for name in noisy] == [
        "largest RMSE of dr over that of ipw (xi = s y)",
        "largest RMSE of dr over that of ipw of the same xi",
        "flattest slope of log RMSE of dr in log n",
    ]
    assert "highest coverage of anything" in failing("coverage", 0.95, estimator="ipw", n=2000, **neither)[0]


def _ideal_results() -> pd.DataFrame:
    """Normal quantiles for estimates: of sd 1 / sqrt(n), three times that for ipw; a bias of 1 where all is wrong."""
    z = norm.ppf((np.arange(200) + 0.5) / 200)
    models = [
        *product(("right", "wrong", "none"), ("right", "wrong"), ("dr", "sndr", "ipw")),
        ("none", "none", "naive"),
    ]
    parts = []
    for design, n, (outcome, assignment, estimator) in product(("randomised", "confounded"), (500, 2000), models):
        wrong = design == "confounded" and "right" not in (outcome, assignment)
        sd = (3 if estimator == "ipw" else 1) / np.sqrt(n)
        cell = {"design": design, "n": n, "outcome_model": outcome, "assignment_model": assignment}
        estimate = sd * z + float(wrong)
        limits = {"ci_low": estimate - 1.96 * sd, "ci_high": estimate + 1.96 * sd}
        parts.append(pd.DataFrame({"estimate": estimate, **limits, **cell, "estimator": estimator, "truth": 0.0}))
    return pd.concat(parts, ignore_index=True)
