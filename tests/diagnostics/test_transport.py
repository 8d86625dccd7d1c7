"""The test of a calibration's transport: its arithmetic, its size and its power."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.errors import DataError
from causalopt.evaluation import transport


def test_strata_add_up() -> None:
    rng = np.random.default_rng(0)
    n = 300
    rated = rng.random(n) < 0.6
    alpha = np.where(rated, rng.uniform(0.5, 2.0, n), 0.0)
    alpha /= alpha.mean()
    residual = np.where(rated, rng.normal(size=n), 0.0)
    found = transport(alpha, residual, rng.normal(size=n), rng.integers(20, 200, n), observed=rated).table
    assert len(found) == 7
    overall, strata = found.iloc[0], found.iloc[1:]
    assert overall["error"] == pytest.approx(np.mean(alpha * residual), rel=1e-12)
    for column in ("error", "weight", "rows"):
        assert strata[column].sum() == pytest.approx(overall[column], rel=1e-9)
    assert overall["rows"] == rated.sum()


def test_fewer_strata_where_there_are_few_outcomes_or_one_length() -> None:
    rng = np.random.default_rng(0)
    for n, strata in ((300, 7), (50, 5), (24, 3), (12, 1)):
        found = transport(np.ones(n), rng.normal(size=n), rng.normal(size=n), rng.permutation(n))
        assert len(found.table) == strata
    found = transport(np.ones(300), rng.normal(size=300), rng.normal(size=300), np.full(300, 80))
    assert found.table["stratum"].tolist()[1:] == ["score 1 of 3", "score 2 of 3", "score 3 of 3"]
    found = transport(np.ones(300), rng.normal(size=300), np.ones(300), np.full(300, 80))
    assert found.table["stratum"].tolist() == ["overall"]
    clusters = np.arange(300) // 25  # 12 of them: too few to be divided
    assert len(transport(np.ones(300), rng.normal(size=300), np.ones(300), np.ones(300), cluster=clusters).table) == 1


def test_size_and_power() -> None:
    """100 tables of 200 rows. At a size of 0.05 more than 14 rejections have probability 1e-4."""
    rejected, found_out = 0, 0
    for seed in range(100):
        rng = np.random.default_rng([seed, 7])
        score, length, noise = rng.normal(size=(3, 200))
        rejected += transport(np.ones(200), noise, score, length).p_value < 0.05
        # Too high for short texts, too low for long ones: nothing of it is in the mean.
        found_out += transport(np.ones(200), noise + 0.5 * np.sign(length), score, length).p_value < 0.05
    assert rejected <= 14
    assert found_out >= 75


def test_no_outcome() -> None:
    with pytest.raises(DataError, match="no row has an outcome"):
        transport(np.ones(5), np.ones(5), np.ones(5), np.ones(5), observed=np.zeros(5))
