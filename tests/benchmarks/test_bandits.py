from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bandits.__main__ import run
from benchmarks.bandits.bandit import CASES, Case, draw, greedy, thompson
from benchmarks.bandits.replication import ESTIMATORS
from benchmarks.bandits.summary import bars


def test_the_logged_propensities_are_those_of_the_choices() -> None:
    """Given the past each choice has its logged probabilities, so that counts minus sums of propensities are
    martingales: over 40 tables none of 8 texts is 4 standard errors off (failure probability 5e-4)."""
    excess, variance = np.zeros(8), np.zeros(8)
    for seed in range(40):
        data = draw(Case("thompson", 8, 0.5), 200, seed).data
        assert data.propensities is not None
        share = np.exp(data.propensities.to_numpy())
        np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-9)
        shown = np.array(data.texts)[:, None] == np.array(data.propensities.columns)
        excess += (shown - share).sum(axis=0)
        variance += (share * (1 - share)).sum(axis=0)
    assert np.abs(excess / np.sqrt(variance)).max() < 4


def test_thompson_sampling_has_the_probability_of_the_largest_draw() -> None:
    mean, count = np.array([0.3, 0.0, -0.5]), np.array([20.0, 4.0, 1.0])
    draws = (
        np.random.default_rng(0)
        .normal(mean * count / (count + 1), 1 / np.sqrt(count + 1), size=(200_000, 3))
        .argmax(axis=1)
    )
    np.testing.assert_allclose(thompson(mean, count), np.bincount(draws) / 200_000, atol=0.005)
    assert greedy(mean, count).tolist() == [1.0, 0.0, 0.0]


def test_a_bandit_gives_up_texts() -> None:
    data = draw(CASES["Thompson sampling, 8 texts, of different worth"], 2000, 0).data
    assert np.exp(data.logged_log_prob[-500:]).mean() > 2 * np.exp(data.logged_log_prob[:100]).mean()


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    case = "epsilon-greedy, 8 texts, of different worth"
    found = run(tmp_path, replications=2, cases=(case,), sizes=(400,), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 2 * 4 * len(ESTIMATORS)
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md", "plots.html"}
    assert len(found) == 5


def test_bars_see_what_fails() -> None:
    cells = pd.DataFrame(
        [
            {"case": case, "rows": rows, "quantity": "difference", "estimator": name, "coverage": 0.95, "rmse": 0.1}
            for case in CASES
            for rows in (400, 2000)
            for name in ESTIMATORS
        ]
    )
    assert all(bar.holds for bar in bars(cells))
    assert len(bars(cells)) == 17
    worse = cells.copy()
    worse.loc[worse["estimator"] == ESTIMATORS[0], "rmse"] = 0.2
    worse.loc[0, "coverage"] = 0.5
    assert sum(not bar.holds for bar in bars(worse)) == 3
