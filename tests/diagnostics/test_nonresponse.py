"""Sensitivity to who responds: against exact enumeration, its limits, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.errors import ConfigError, DataError
from causalopt.evaluation import nonresponse, snipw

# Every cell of 3 texts and 2 kinds of readers, each as often as p(x | w) says: means over rows are expectations.
SHOWN = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
PI = np.array([[0.8, 0.5, 0.2], [0.4, 0.4, 0.3]])
POLICY, REFERENCE = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
MEAN = np.array([[3.0, 1.0, 0.0], [5.0, 2.0, 0.5]])


def rows(noise: float = 0.0):
    counts = np.rint(100 * SHOWN).astype(int)
    reader, text = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
    q = SHOWN.mean(axis=0)
    s = q[text] / SHOWN[reader, text]
    ratios = np.log(POLICY / q)[text], np.log(REFERENCE / q)[text]
    xi = s * MEAN[reader, text] + noise * np.random.default_rng(0).normal(size=len(s))
    difference = snipw(ratios[0], xi) - snipw(ratios[1], xi)
    return difference, *ratios, s, PI[reader, text]


def test_it_is_the_formula_of_the_docstring() -> None:
    found = nonresponse(*rows(), spread=2.0)
    silent = (1 - PI).mean(axis=0)  # over both kinds of readers, of each text
    assert found.unobserved == pytest.approx((POLICY @ silent, REFERENCE @ silent))
    assert found.shift.value == pytest.approx((POLICY - REFERENCE) @ silent)
    # The worst case has delta = +1 where the policy is more likely to write the text, and -1 elsewhere.
    assert found.worst.value == pytest.approx(np.abs(POLICY - REFERENCE) @ silent)
    truth = (POLICY - REFERENCE) @ MEAN.mean(axis=0)
    assert found.at(0.0).value == pytest.approx(truth)
    for delta in (-1.0, 0.3):
        # E[Y | c, x, w] = pi E[Y | observed] + (1 - pi) (E[Y | observed] - delta), enumerated.
        everybody = PI * MEAN + (1 - PI) * (MEAN - delta)
        assert found.at(delta).value == pytest.approx((POLICY - REFERENCE) @ everybody.mean(axis=0))
    bounds = found.bounds(0.5)
    worst = MEAN - 0.5 * (1 - PI) * np.sign(POLICY - REFERENCE)
    assert bounds.low == pytest.approx((POLICY - REFERENCE) @ worst.mean(axis=0))
    assert bounds.low + bounds.high == pytest.approx(2 * truth)


def test_at_delta_zero_it_is_the_estimate_itself() -> None:
    difference, *rest = rows(noise=1.0)
    found = nonresponse(difference, *rest, spread=1.0)
    bounds = found.bounds(0.0)
    assert (bounds.ci_low, bounds.ci_high) == pytest.approx(difference.confint())
    table = found.to_frame()
    middle = table[table["delta"] == 0].iloc[0]
    assert (middle["estimate"], middle["ci_low"], middle["worst_ci_high"]) == pytest.approx(
        (difference.value, difference.confint()[0], difference.confint()[1])
    )
    np.testing.assert_allclose(table["estimate"], difference.value - table["delta"] * found.shift.value)
    assert (table["worst_ci_low"] <= table["ci_low"] + 1e-9).all()
    assert (table["worst_ci_high"] >= table["ci_high"] - 1e-9).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_at_its_tipping_points_the_interval_ends_at_zero(sign: float) -> None:
    difference, *rest = rows(noise=1.0)
    found = nonresponse(sign * difference, *rest, spread=2.0)
    tipping, worst = found.tipping_point(), found.worst_tipping_point()
    assert tipping is not None
    assert worst is not None
    assert min(np.abs(found.at(tipping).confint())) < 1e-6
    assert all(low * high > 0 for low, high in [found.at(0.99 * tipping).confint(), found.at(-tipping).confint()])
    bounds = found.bounds(worst)
    assert min(abs(bounds.ci_low), abs(bounds.ci_high)) < 1e-6
    assert 0 < worst < abs(tipping)


def test_tipping_points_where_there_is_none() -> None:
    difference, *rest = rows(noise=1.0)
    assert (
        nonresponse(difference * 1e-9 + (difference - difference), *rest, spread=1.0).worst_tipping_point() is not None
    )
    noisy = nonresponse(snipw(rest[0], np.tile([9.0, -9.0], 100)) * 1.0, *rest, spread=1.0)
    assert noisy.tipping_point() == 0.0
    assert noisy.worst_tipping_point() == 0.0
    everybody = nonresponse(difference, *rest[:3], np.ones(200), spread=1.0)
    assert everybody.shift.value == 0
    assert everybody.tipping_point() is None
    assert everybody.worst_tipping_point() is None


def test_arrays_that_cannot_be_used_are_refused() -> None:
    difference, first, second, s, pi = rows()
    for arrays, said in (
        ((first, second, s, 0 * pi), "pi above 0"),
        ((first, second, 0 * s, pi), "s must be positive"),
        ((first, second, s[:5], pi), "pi has 200 rows"),
        ((first[:5], second[:5], s[:5], pi[:5]), "the estimate rests on 200 rows"),
        ((np.where(first > 0, np.nan, first), second, s, pi), "log_ratio"),
    ):
        with pytest.raises(DataError, match=said):
            nonresponse(difference, *arrays, spread=1.0)
    with pytest.raises(ConfigError, match="standard deviation of the outcome, must be a number above 0"):
        nonresponse(difference, first, second, s, pi, spread=0.0)
