from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.judge.__main__ import run
from benchmarks.judge.letters import CASES, KL, LETTERS, Case, draw
from benchmarks.judge.summary import table


def test_the_generator_is_as_described() -> None:
    drawn = draw(Case(0.1, confounding=0.6, rows=20_000), 3)
    p, q = (np.exp(one.log_prob(None, LETTERS)) for one in (drawn.policy, drawn.reference))
    assert float(p @ np.log(p / q)) == pytest.approx(KL, abs=1e-9)
    data = drawn.data
    assert data.rated.sum() == 2000
    assert [LETTERS[i] for i in drawn.text[:20]] == data.texts[:20]
    # E[1 / p(x | w)] over the letters that were shown is their number.
    assert np.mean(1 / drawn.shown) == pytest.approx(len(LETTERS), rel=0.05)
    # Readers who respond most are shown what works worst: the plain weighted mean is too low, the adjusted one is not.
    age = data.covariates["age"].to_numpy(dtype=float)
    score = drawn.score[drawn.text]
    assert np.corrcoef(age, score)[0, 1] < -0.3
    weight = 1 / drawn.shown
    centred = [x - np.average(x, weights=weight) for x in (age, score)]
    assert abs(np.average(centred[0] * centred[1], weights=weight)) < 0.1


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    bars = run(tmp_path, replications=1, jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert set(results["case"]) == set(CASES)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [bar["name"] for bar in summary["bars"]] == [bar.name for bar in bars]
    cells = table(results).set_index(["case", "method", "weights"])
    raw = cells.loc[("randomised, 25%", "judge as it is", "known ratios")]
    assert raw["bias"] > 0.05
    assert "| case | method |" in (tmp_path / "table.md").read_text()
