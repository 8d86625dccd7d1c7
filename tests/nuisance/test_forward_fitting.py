"""Predictions from the past alone."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.errors import DataError
from causalopt.nuisance.forward_fitting import fit_forward, forward_blocks
from causalopt.nuisance.rows import Rows


def rows(n: int = 300, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    return Rows.of(x, w, 3 + x[:, 0] + w[:, 0] + 0.5 * rng.normal(size=n), None)


def test_later_outcomes_change_no_earlier_prediction():
    data, time = rows(), np.random.default_rng(1).permutation(300).astype(float)
    before = fit_forward(data, time, "ridge")
    for first in (10, 100, 200):
        y = data.y.copy()
        y[time >= first] += 5.0
        after = fit_forward(Rows.of(data.x, data.w, y, None), time, "ridge")
        same = time <= first
        np.testing.assert_array_equal(after.m[same], before.m[same])
        assert not np.array_equal(after.m[~same], before.m[~same])


def test_the_prediction_becomes_that_of_a_fit():
    data, time = rows(), np.arange(300.0)
    fit = fit_forward(data, time, "ridge")
    assert len(fit.models) == fit.block.max()
    assert np.var(data.y[150:] - fit.m[150:]) < 0.4
    early = fit.block == 0
    np.testing.assert_allclose(fit.m[early][1:], (np.cumsum(data.y) / np.arange(1, 301))[: early.sum() - 1])
    assert fit.m[0] == 0


def test_rows_of_one_time_are_not_predicted_from_each_other():
    time = np.repeat(np.arange(30.0), 10)
    block = forward_blocks(time)
    assert all(len(set(block[time == t])) == 1 for t in range(30))
    fit = fit_forward(rows(), time, "ridge")
    assert len(set(fit.m[time == 1])) == 1  # the mean of the first time's rows
    assert fit.m[time == 1][0] == pytest.approx(rows().y[:10].mean())


@pytest.mark.parametrize("time", [np.arange(15.0), np.ones(300)])
def test_too_few_rows_or_times(time):
    with pytest.raises(DataError, match="too few to predict later rows"):
        fit_forward(rows(len(time)), time, "ridge")
