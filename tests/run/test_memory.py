"""The memory that a run will need."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset
from causalopt.errors import CausalOptWarning
from causalopt.run import memory
from causalopt.run.memory import estimated_memory, warn_of_size


def dataset(rows: int, levels: int = 4) -> DirectOutcomeDataset:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(["a b", "b c", "c d"], rows), "outcome": rng.normal(size=rows)})
    return DirectOutcomeDataset.from_frame(
        frame.assign(zip=[f"z{k % levels}" for k in range(rows)]), source="logs.csv", covariates=["zip"]
    )


def test_it_grows_with_rows_and_columns():
    small, large, wide = dataset(2000), dataset(4000), dataset(2000, levels=50)
    assert estimated_memory(large) - estimated_memory(small) == 2000 * (memory.OF_ROW + 4 * memory.OF_COVARIATE)
    assert estimated_memory(wide) - estimated_memory(small) == 2000 * 46 * memory.OF_COVARIATE
    assert estimated_memory(small, small) - estimated_memory(small) == estimated_memory(small) - memory.CONSTANT


def test_a_table_that_does_not_fit_is_named(monkeypatch):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    with pytest.warns(CausalOptWarning, match=r"logs.csv: 2000 rows will take about 1.2 GiB of memory, and 1.0 GiB"):
        warn_of_size(dataset(2000))


def test_a_covariate_with_too_many_levels_is_named():
    with pytest.warns(CausalOptWarning, match=r"logs.csv: covariate 'zip' has 20000 levels in 30000 rows: .*4.47 GiB"):
        warn_of_size(dataset(30_000, levels=20_000))
