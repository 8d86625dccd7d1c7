from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.long_fits import replication
from benchmarks.long_fits.__main__ import run
from benchmarks.long_fits.replication import METHODS, WORDS, _shares, _written
from benchmarks.long_fits.summary import bars, table
from benchmarks.long_texts.language import embedding, models


def test_a_text_is_valued_by_its_topics_whatever_else_it_says() -> None:
    texts = models()[0].sample(5, 30, np.random.default_rng(0))
    np.testing.assert_allclose(_shares([_written(text) + " unheard-of" for text in texts]), embedding(texts))
    assert len(set(WORDS)) == 64


@pytest.mark.slow
def test_a_run_leaves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"objective": {"name": "dr_cpo"}, "backend": {"training": {"max_steps": 2}}}
    monkeypatch.setitem(METHODS, "dr_cpo", short)
    monkeypatch.setattr(replication, "WRITTEN", 50)
    monkeypatch.setattr(replication, "TEST_ROWS", 100)
    found = run(tmp_path, replications=1, lengths=(8,), methods=("dr_cpo",), rows=200, jobs=1)
    assert len(found) == 3
    assert "| 8 | dr_cpo |" in (tmp_path / "table.md").read_text()


def test_bars_see_a_timid_default_a_silent_collapse_and_intervals_that_fail() -> None:
    good = pd.DataFrame(
        [
            {"length": 200, "method": method, "replication": seed, "gain": 0.5, "gain_se": 0.01, "kl": 0.3,
             "ess": 200.0, "collapsed": False, "estimate": 0.5, "se": 0.1, "ci_low": 0.3, "ci_high": 0.7}
            for method in ("dr_cpo", "cpo")
            for seed in range(2)
        ]
    )  # fmt: skip
    assert all(bar.holds for bar in bars(good))
    assert table(good)["of_best"].tolist() == [1.0, 1.0]
    default = good["method"] == "dr_cpo"
    for column, value in (("gain", 0.3), ("ess", 1.2), ("ci_low", 0.6)):
        broken = good.copy()
        broken.loc[default, column] = value
        assert [bar.holds for bar in bars(broken)].count(False) == 1, column
