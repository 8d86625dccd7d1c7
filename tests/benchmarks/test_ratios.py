from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.ratios.__main__ import run
from benchmarks.ratios.laws import LAWS
from benchmarks.ratios.summary import bars


@pytest.mark.parametrize("name", LAWS)
def test_a_true_ratio_is_a_density_ratio(name: str) -> None:
    """E[s] = 1, E[s w] = E[w] and E[s x] = E[x] under the law: z-tests at 5 standard errors, 4e-5 in all for a law."""
    law = LAWS[name](20_000, 4, 0)
    s = np.exp(law.log_s)
    columns = np.column_stack([np.ones(len(s)), law.w, law.x])
    term = (s - 1)[:, None] * (columns - np.r_[0.0, columns[:, 1:].mean(axis=0)])
    statistic = term.mean(axis=0) / (term.std(axis=0) / np.sqrt(len(s)))
    assert np.abs(statistic).max() < 5
    assert np.std(law.log_s) > 0.4
    wrong = (1 / s - 1)[:, None] * columns
    assert np.abs(wrong.mean(axis=0) / (wrong.std(axis=0) / np.sqrt(len(s)))).max() > 5


def test_a_run_leaves_its_files(tmp_path: Path) -> None:
    found = run(tmp_path, replications=1, sizes=(400,), dimensions=(4,), jobs=1)
    results = pd.read_parquet(tmp_path / "results.parquet")
    assert len(results) == len(LAWS) * 2
    assert results["correlation"].between(-1, 1).all()
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "summary.json", "table.md", "plots.html"}
    assert len(found) == 7


def test_bars_see_a_model_that_is_too_sure_or_finds_nothing() -> None:
    good = pd.DataFrame(
        [
            {"law": law, "dimensions": 16, "n": 4000, "model": model, "correlation": correlation, "slope": 1.0}
            for law in LAWS
            for model, correlation in (("gaussian", 0.95 if law != "curved attributes" else 0.6), ("classifier", 0.95))
        ]
    )
    assert all(bar.holds for bar in bars(good))

    def failing(column: str, value: float, law: str, model: str) -> list[str]:
        broken = good.copy()
        broken.loc[(broken["law"] == law) & (broken["model"] == model), column] = value
        return [bar.name for bar in bars(broken) if not bar.holds]

    assert failing("correlation", 0.5, "gaussian", "gaussian") == [
        "lowest correlation of either model, log-linear laws"
    ]
    assert failing("slope", 0.5, "topics", "classifier") == ["lowest calibration slope of the classifier, any law"]
    assert failing("slope", 1.2, "attributes", "gaussian")[0].startswith("highest calibration slope of either")
    assert failing("correlation", 0.69, "curved attributes", "classifier")[-1].startswith("smallest gain")
