"""Rows that trained or chose a policy are told from fresh ones, and refused for its evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt import DirectOutcomeDataset
from causalopt.data.population import FIXED
from causalopt.data.seen_rows import shared_rows
from causalopt.errors import CausalOptWarning, DataError
from causalopt.run.config import parse_config
from causalopt.run.evaluate import compare_runs, evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

TEXTS = [f"{a} {b}" for a in ("help", "give", "act") for b in ("now", "soon", "please")]
ROLES = {"covariates": ["age"]}


def table(seed, n=300, binary=False):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"text": rng.choice(TEXTS, n), "age": rng.normal(40, 10, n), "kind": rng.choice(["a", None], n)}
    )
    latent = frame["text"].str.contains("please") + 0.05 * frame["age"] + rng.normal(size=n)
    return frame.assign(outcome=(latent > 2.5).astype(float) if binary else latent)


def data(frame, source="frame", **roles):
    return co.DirectOutcomeDataset.from_frame(frame, source=source, **{**ROLES, **roles})


def test_rows_are_counted_by_content_whatever_their_order_source_and_codes():
    frame = table(0)
    whole = data(frame, covariates=["age", "kind"], reader="age")
    part = data(frame.sample(frac=0.4, random_state=1), "part.csv", covariates=["age"], group="age").with_population(
        FIXED
    )
    assert shared_rows(whole, whole) == 300
    assert shared_rows(part, whole) == shared_rows(whole, part) == len(part) == 120
    assert shared_rows(data(table(1)), whole) == 0
    moved = data(frame.assign(outcome=frame["outcome"] + 1e-9))
    assert shared_rows(moved, whole) == shared_rows(replace(whole, weight=2 * whole.weight), whole) == 0
    mixed = data(pd.concat([frame[:50], table(2)[:30], frame[:50]]), "mixed")
    assert shared_rows(mixed, whole) == 50  # each row of the other as often as it is there


def test_fresh_rows_of_few_values_are_not_taken_for_seen_ones():
    """Two outcomes of nine texts: every row has its like among the training rows, by chance alone."""
    for n in (20, 40, 80, 400):
        seen = data(table(0, n, binary=True), covariates=[])
        shares = [shared_rows(data(table(seed, 100, binary=True), covariates=[]), seen) / 100 for seed in range(1, 30)]
        assert max(shares) < 0.5
    rare = pd.DataFrame({"text": ["a"] * 200, "outcome": np.random.default_rng(0).random(200) < 0.05})
    assert shared_rows(data(rare[100:], covariates=[]), data(rare[:100], covariates=[])) < 50
    train, test = seen.with_population(FIXED).split(test_size=0.3, seed=0)
    assert shared_rows(test, train) < 0.5 * len(test)
    assert shared_rows(train, seen) == len(train)
    assert shared_rows(seen, train) == len(train)


@pytest.fixture(scope="module")
def chosen():
    """A policy with the pseudo-outcomes that trained it, and those that chose it."""
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    train, validation = (nuisances.fit_transform(data(table(seed), f"table {seed}")) for seed in (0, 1))
    backend = {"name": "finite", "candidates": TEXTS, "max_kl": 0.5}
    return co.optimize(train, backend=backend, choose=validation), train, validation


def test_a_policy_is_not_evaluated_on_rows_that_made_it(chosen):
    policy, train, validation = chosen
    for rows in (train, validation, train.dataset, validation.dataset.subset(np.arange(100))):
        with pytest.raises(DataError, match=r"table \d: \d00 of its \d00 rows trained or chose a policy, whose value"):
            co.evaluate(policy, rows, draws=50)
    with pytest.raises(DataError, match="300 of its 300 rows"):
        co.evaluate(policy.reference, train, reference=policy, draws=50)
    half = pd.concat([table(0)[:90], table(1)[:90], table(2)[:150]])
    with pytest.raises(DataError, match="half: 180 of its 330 rows"):
        co.evaluate(policy, data(half, "half"), draws=50)
    fresh = data(pd.concat([half[:140], table(2)[:150]]))
    assert np.isfinite(co.evaluate(policy, fresh, draws=50).difference.se)
    assert np.isfinite(co.evaluate(policy.policy, train, reference=policy.reference, draws=50).difference.se)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        table(seed).to_csv(folder / f"table{seed}.csv", index=False)
        settings = {
            "data": {"path": str(folder / f"table{seed}.csv"), **ROLES},
            "outcome_model": "ridge",
            "assignment_model": "randomized",
            "backend": "finite",
            "choose": {"size": 0.4},
            "evaluation": {"draws": 50},
        }
        run(prepare(parse_config(settings)), folder / f"run{seed}")
    table(2).to_csv(folder / "fresh.csv", index=False)
    return folder


def test_a_run_is_not_evaluated_on_its_training_rows_or_those_set_apart(runs, tmp_path):
    first, second, fresh = runs / "run0", runs / "run1", runs / "fresh.csv"
    table(0).sample(frac=1.0, random_state=0).to_csv(tmp_path / "copy.csv", index=False)
    with pytest.raises(
        DataError, match=r"copy.csv: \d+ of its 300 rows trained .* without --data, \S*run0 is evaluated"
    ):
        evaluate_run(first, data=tmp_path / "copy.csv")
    for asked in (
        lambda: evaluate_run(first, policy=str(second), data=runs / "table1.csv"),
        lambda: compare_runs(first, second, data=runs / "table1.csv"),
        lambda: compare_runs(second, first, data=runs / "table1.csv"),
    ):
        with pytest.raises(DataError, match=r"table1.csv: \d+ of its 300 rows"):
            asked()
    for found in (evaluate_run(first), evaluate_run(first, data=fresh), compare_runs(first, second, data=fresh)):
        assert found["value"]["difference"]["se"] >= 0
    (runs / "table0.csv").rename(runs / "gone.csv")
    with pytest.warns(CausalOptWarning, match=r"table0.csv: no longer exists"):
        evaluate_run(first, data=fresh)


def test_a_test_table_that_is_the_training_table_is_refused(tmp_path):
    table(0).to_csv(tmp_path / "table.csv", index=False)
    paths = {"path": str(tmp_path / "table.csv"), "test": {"path": str(tmp_path / "table.csv")}}
    with pytest.raises(DataError, match=r"300 of its 300 rows .* name another table in data\.test\.path"):
        prepare(parse_config({"data": {**paths, **ROLES}, "backend": "finite"}))


def test_a_shuffled_copy_of_a_table_of_repeated_rows_is_recognised():
    """Three texts and a click: no row is held once, and no position agrees."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(["a", "b", "c"], 400), "outcome": rng.choice([0.0, 1.0], 400)})
    one = DirectOutcomeDataset.from_frame(frame, source="one.csv")
    shuffled = DirectOutcomeDataset.from_frame(frame.sample(frac=1, random_state=1), source="two.csv")
    fresh = frame.assign(outcome=rng.choice([0.0, 1.0], 400))
    assert shared_rows(shuffled, one) == 400
    assert shared_rows(DirectOutcomeDataset.from_frame(fresh, source="three.csv"), one) == 0
