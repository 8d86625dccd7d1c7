"""Adaptively weighted scores: by enumeration of a bandit with two texts, and in closed form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from causalopt.errors import DataError, OverlapError
from causalopt.estimators.adaptive import latest_second_moment
from causalopt.evaluation import adaptive_dr, dr, stable_weights


def test_its_value_is_exactly_unbiased_over_all_histories_of_a_bandit():
    """Two texts with yes-or-no outcomes, 4 rows: from the second on the better text so far has probability 0.8.

    The sum over all 256 histories of their probability times the estimate is the value, with predictions from the past
    and weights fixed in advance; with predictions from all rows it is not.
    """
    success, policy, h = np.array([0.7, 0.4]), np.array([0.3, 0.7]), np.array([1.0, 0.8, 0.5, 0.4])
    mean = {"past": 0.0, "all rows": 0.0}
    for history in itertools.product(itertools.product((0, 1), (0, 1)), repeat=4):
        text, y = (np.array(part) for part in zip(*history, strict=True))
        probability, share, m = 1.0, np.zeros((4, 2)), np.zeros((4, 2))
        for t in range(4):
            total = np.array([y[:t][text[:t] == k].sum() for k in (0, 1)])
            count = np.array([(text[:t] == k).sum() for k in (0, 1)])
            m[t] = (total + 0.5) / (count + 1)
            share[t] = 0.5 if t == 0 or m[t, 0] == m[t, 1] else np.where(m[t] == m[t].max(), 0.8, 0.2)
            probability *= share[t, text[t]] * (success[text[t]] if y[t] else 1 - success[text[t]])
        rows = np.arange(4)
        log_ratio = np.log(policy[text] / share[rows, text])
        everything = np.array([(y[text == k].sum() + 0.5) / ((text == k).sum() + 1) for k in (0, 1)])
        for name, predicted in (("past", m), ("all rows", np.tile(everything, (4, 1)))):
            found = adaptive_dr(log_ratio, y - predicted[rows, text], predicted @ policy, h)
            mean[name] += probability * found.value
    assert mean["past"] == pytest.approx(policy @ success, abs=1e-12)
    assert abs(mean["all rows"] - policy @ success) > 0.004


def test_value_and_error_in_closed_form():
    rng = np.random.default_rng(0)
    n = 2000
    log_ratio, residual, plug_in, h = rng.normal(size=n), rng.normal(size=n), rng.normal(size=n), rng.uniform(size=n)
    weight = rng.integers(1, 4, n).astype(float)
    gamma, share = plug_in + np.exp(log_ratio) * residual, weight * h / np.sum(weight * h)
    found = adaptive_dr(log_ratio, residual, plug_in, h, weight=weight)
    assert found.value == pytest.approx(share @ gamma)
    assert found.se == pytest.approx(np.sqrt(np.sum(share**2 * (gamma - share @ gamma) ** 2)), rel=0.01)
    assert found.details["effective_rows"] == pytest.approx(1 / np.sum(share**2))


def test_with_equal_weights_and_one_prediction_it_is_dr():
    rng = np.random.default_rng(0)
    log_ratio, y = rng.normal(size=50), rng.normal(size=50)
    one = np.ones(50)
    found, usual = adaptive_dr(log_ratio, y - 0.3, 0.3 * one, one), dr(log_ratio, y, 0.3 * one, 0.3)
    assert found.value == pytest.approx(usual.value)
    assert found.se == pytest.approx(usual.se)
    assert found.df == pytest.approx(usual.df)
    assert found.df < 40


def test_weights_stabilise_the_variance():
    rng = np.random.default_rng(0)
    e = np.repeat([0.5, 0.05], 5000)
    ratio = (rng.random(10_000) < e) / e
    h = stable_weights(1 / e)
    first, second = (np.var((h * ratio * rng.normal(size=10_000))[part]) for part in (slice(5000), slice(5000, None)))
    assert first == pytest.approx(second, rel=0.3)


def test_predicted_second_moments_are_of_the_past_and_close_where_propensities_are_steady():
    rng = np.random.default_rng(0)
    e = np.array([0.6, 0.3, 0.1])
    text, share = rng.choice(3, 400, p=e), np.array([0.2, 0.3, 0.5])
    found = latest_second_moment(share, text, np.log(e[text]))
    np.testing.assert_allclose(found[60:], np.sum(share**2 / e), rtol=1e-9)
    later = np.where(np.arange(400) >= 200, -0.7, 0.0)
    changed = latest_second_moment(share, text, np.log(e[text]) + later)
    np.testing.assert_array_equal(changed[:201], found[:201])
    assert changed[201] != found[201]


@pytest.mark.parametrize(
    ("h", "error", "message"),
    [
        ([1.0, -1.0, 1.0], DataError, "h is negative at row 1"),
        ([0.0, 0.0, 0.0], OverlapError, "h is zero in all rows"),
        ([1.0, 1.0], DataError, "h"),
    ],
)
def test_what_cannot_be_used(h, error, message):
    with pytest.raises(error, match=message):
        adaptive_dr(np.zeros(3), np.zeros(3), np.arange(3.0), h)
