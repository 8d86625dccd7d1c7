from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.odd_tables.__main__ import bars, run
from benchmarks.odd_tables.replication import faults
from benchmarks.odd_tables.tables import COVARIATES, OUTCOMES, TEXTS, odd_table
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.pseudo_outcome import PseudoOutcomeEstimator


def test_a_table_is_drawn_by_its_number_and_all_kinds_come_up() -> None:
    pd.testing.assert_frame_equal(odd_table(3)[0], odd_table(3)[0])
    kinds = [odd_table(seed)[2] for seed in range(200)]
    for oddity, values in (("texts", TEXTS), ("outcomes", OUTCOMES), ("covariates", COVARIATES)):
        assert {kind[oddity] for kind in kinds} == set(values)


def test_odd_tables_go_through_the_default_path(tmp_path: Path) -> None:
    """Twelve tables: each ends in numbers that are not at fault, or in one line."""
    found = run(tmp_path, tables=12, jobs=1)
    assert [bar.name for bar in found if not bar.holds and not bar.name.startswith("share")] == []
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == 12
    assert (results["ended"] == "fitted").sum() > 6
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md"}


def test_faults_are_seen() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "y": rng.normal(size=40), "age": np.arange(40.0)})
    data = DirectOutcomeDataset.from_frame(frame, text="text", outcome="y", covariates=["age"])
    settings = {"outcome_model": "ridge", "assignment_model": "randomized"}
    good = PseudoOutcomeEstimator(**settings).fit_transform(data)
    assert faults(good) == []
    none = np.zeros(40)
    wild = PseudoOutcomeEstimator(**settings).fit_transform(data, m=none + 10, g=none + 10)
    assert any("ranges beyond" in fault for fault in faults(wild))
    assert any("times that of the mean" in fault for fault in faults(wild))
    light = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data, s=none + 0.95)
    light.s[:] = 0.5
    assert any("mean weight 0.5" in fault for fault in faults(light))


def test_bars_count_what_may_not_be() -> None:
    results = pd.DataFrame({"ended": ["fitted"] * 9 + ["refused"], "wrong": [""] * 10})
    assert all(bar.holds for bar in bars(results))
    assert not bars(results.assign(wrong=["a fault"] + [""] * 9))[1].holds
    assert not bars(results.assign(ended=["broken"] + ["fitted"] * 9))[0].holds
