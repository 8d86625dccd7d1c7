from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.cost.__main__ import bars, run, table
from benchmarks.cost.systems import FOLDS, SYSTEMS, Sample


def test_texts_are_rated_five_times_and_stay_in_one_fold() -> None:
    sample = Sample.draw(500, seed=0)
    assert (np.bincount(sample.text) == 5).all()
    assert all(len(set(sample.fold[sample.text == text])) == 1 for text in range(100))
    assert sorted(np.concatenate([test for _, test in sample.splits()])) == list(range(500))
    assert set(sample.fold) == set(range(FOLDS))


def test_ratios_are_taken_round_by_round_and_growth_is_the_slope() -> None:
    rows = []
    for r, speed in enumerate((1.0, 3.0, 1.0)):  # the machine is three times slower in the second round
        for n in (100, 1000):
            for system in SYSTEMS:
                seconds = speed * n * (0.5 if system == "DoubleML PLR" else 1.0)
                rows.append({"round": r, "n": n, "system": system, "seconds": seconds,
                             "processor_seconds": seconds, "peak_mib": 10.0})  # fmt: skip
    results = pd.DataFrame(rows)
    assert table(results).set_index(["n", "system"])["ratio"][100, "DoubleML PLR"] == pytest.approx(2.0)
    found = {bar.name: bar for bar in bars(results)}
    assert found["slope of log seconds in log n, causalopt"].value == pytest.approx(1.0)
    assert found["seconds over those of DoubleML PLR, same learners"].value == pytest.approx(2.0)


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    run(tmp_path, sizes=(200, 400), rounds=1, systems=("causalopt", "causalopt, same learners"))
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 4
    assert (results[["seconds", "processor_seconds"]] > 0).all(axis=None)
    assert len(json.loads((tmp_path / "summary.json").read_text())["bars"]) == 3
    assert "same learners" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plots.html").exists()


@pytest.mark.parametrize("system", ["EconML LinearDML", "DoubleML PLR"])
def test_a_peer_estimates_the_effect_of_the_first_coordinate(system: str) -> None:
    assert SYSTEMS[system](Sample.draw(1500, seed=0)) == pytest.approx(1.0, abs=0.25)
