from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.bandits.bandit import Case, log_rows, ucb
from benchmarks.unlogged_bandits.__main__ import COVERS, bars, run
from benchmarks.unlogged_bandits.replication import CASES, METHODS, POSTERIOR, policies_of


def test_ucb_chooses_the_largest_upper_bound():
    mean, count = np.array([0.3, 0.2, 0.5]), np.array([50.0, 2.0, 50.0])
    assert ucb(mean, count).tolist() == [0.0, 1.0, 0.0]  # 0.2 + sqrt(2 log 103 / 2) = 2.35 is above 0.5 + 0.43
    assert ucb(mean, np.array([0.0, 90.0, 90.0])).tolist() == [1.0, 0.0, 0.0]


def test_worths_and_policies():
    logs = log_rows(Case("ucb", 12, 0.0, winner=1.0), 100, 0)
    assert logs.worth.tolist() == [1.0, *[0.0] * 11]
    policies, truth = policies_of(logs)
    assert truth["uniform"] == pytest.approx(1 / 12)
    assert truth["a given text"] == pytest.approx(0.9 + 0.1 / 12)
    assert truth["the worst text"] == pytest.approx(0.1 / 12)
    most = logs.frame["text"].value_counts().idxmax()
    texts, log_prob = policies["the text shown most"].distribution(None)
    assert texts[int(np.argmax(log_prob))] == most


def test_a_run_leaves_its_files(tmp_path: Path):
    found = run(tmp_path, replications=1, cases=("UCB, 12 texts",), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 3 * len(METHODS)
    assert (results["ci_low"] <= results["estimate"]).all()
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md"}
    assert len(found) == 4


def test_bars_see_what_fails():
    cells = pd.DataFrame(
        [
            {"case": case, "quantity": quantity, "estimator": POSTERIOR, "coverage": 0.95}
            for case in CASES
            for quantity in COVERS
        ]
    )
    assert all(bar.holds for bar in bars(cells))
    cells.loc[cells["case"] == "UCB, 12 texts", "coverage"] = 0.8
    assert [bar.holds for bar in bars(cells)] == [False, False, False, False]
