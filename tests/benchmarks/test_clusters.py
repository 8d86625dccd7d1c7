from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from benchmarks.clusters.__main__ import run
from benchmarks.clusters.replication import LeastSquares, NormalCopula
from benchmarks.clusters.summary import bars, table
from benchmarks.clusters.survey import READERS, SHIFT, TEXTS, effect, policy_draws, survey, truth
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_every_text_is_rated_by_ten_and_every_reader_rates_twenty(correlation: float) -> None:
    drawn = [survey(seed, correlation) for seed in range(40)]
    for rows in drawn[:5]:
        assert (np.bincount(rows.text, minlength=TEXTS) == 10).all()
        assert (np.bincount(rows.reader, minlength=READERS) == 20).all()
        assert len(set(zip(rows.text, rows.reader, strict=True))) == len(rows.y)
    found = np.mean([np.corrcoef(rows.x[:, 0], rows.w[:, 0])[0, 1] for rows in drawn])
    assert found == pytest.approx(-correlation, abs=0.03)  # six standard errors of 40 surveys


def test_the_truth_is_that_of_the_policy() -> None:
    def integrand(z: float) -> float:
        return float(effect(np.array([[z, 0.0, 0.0, 0.0]]))[0] * norm(SHIFT).pdf(z))

    assert truth() == pytest.approx(quad(integrand, -10, 10)[0], abs=1e-8)
    assert effect(policy_draws(200_000, np.random.default_rng(0))).mean() == pytest.approx(truth(), abs=0.01)


def test_the_models_of_the_benchmark() -> None:
    rows = survey(0, 0.3)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(rows.y))
    for curved in (True, False):
        model = LeastSquares(curved).fit(rows.x, rows.w, rows.y, weight)
        assert isinstance(model, OutcomeModel)
        grid = np.array([[model.predict(a[None], b[None])[0] for b in rows.w[:50]] for a in rows.x[:5]])
        mean = np.average(grid, axis=1, weights=weight[:50])
        np.testing.assert_allclose(model.marginal(rows.x[:5], rows.w[:50], weight[:50]), mean)
        np.testing.assert_allclose(model.reader_response(rows.x[:5], rows.w[:50]), grid.mean(axis=0))
    assignment = NormalCopula().fit(rows.x, rows.w, weight)
    assert isinstance(assignment, AssignmentModel)
    r = assignment.correlation
    pair = np.column_stack([rows.x[:, 0], rows.w[:, 0]])
    together = multivariate_normal([0, 0], [[1, r], [r, 1]]).logpdf(pair)
    apart = norm.logpdf(pair).sum(axis=1)
    np.testing.assert_allclose(np.log(assignment.stabilized_weight(rows.x, rows.w)), apart - together)


def test_a_run_leaves_its_files_and_the_unclustered_interval_is_too_short(tmp_path: Path) -> None:
    run(tmp_path, replications=4, jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 2 * 2 * 4 * 2 * 4
    se = results.pivot_table(index=["design", "outcome_model", "estimator"], columns="clustered_by", values="se")
    assert (se["nothing"] < 0.5 * se["text and reader"]).all()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["bars"]) == 5
    assert "| confounded | right | sndr | text and reader |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plots.html").exists()


def test_bars_see_coverage_that_is_lost_and_an_unclustered_interval_that_covers() -> None:
    ways = {"text and reader": 1.96, "text": 0.8, "reader": 1.5, "nothing": 0.5}
    z = norm.ppf((np.arange(400) + 0.5) / 400)
    parts = [
        pd.DataFrame({"estimate": z, "ci_low": z - half, "ci_high": z + half, "truth": 0.0, "replication": range(400),
                      "design": "confounded", "outcome_model": model, "estimator": "dr", "clustered_by": way})
        for way, half in ways.items() for model in ("right", "wrong")
    ]  # fmt: skip
    good = table(pd.concat(parts))
    assert all(bar.holds for bar in bars(good))
    for way, coverage, name in (
        ("text and reader", 0.92, "lowest coverage clustered by text and reader, both models right"),
        ("text and reader", 0.98, "highest coverage clustered by text and reader, both models right"),
        ("nothing", 0.9, "highest coverage of the unclustered interval"),
    ):
        broken = good.copy()
        broken.loc[broken["clustered_by"] == way, "coverage"] = coverage
        assert [bar.name for bar in bars(broken) if not bar.holds] == [name]
