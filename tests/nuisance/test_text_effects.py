"""The random effect of a text: its variance by moments, what it does to a correction, and to a policy."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.nuisance.second_stage import expected_residual
from causalopt.nuisance.text_effects import between_text_share, with_text_effects
from causalopt.simulation.tilting import temperature_at, tilt


def share_written_out(left, weight, text):
    """The same formula, pair by pair."""
    products = squares = pairs = squared_pairs = 0.0
    for i in range(len(left)):
        for j in range(len(left)):
            if i != j and text[i] == text[j]:
                pair = weight[i] * weight[j]
                products += pair * left[i] * left[j]
                squares += (pair * left[i] * left[j]) ** 2
                pairs += pair
                squared_pairs += pair**2
    t = max(products / np.sqrt(2 * squares), 0.0)
    effective = 0.5 * pairs**2 / squared_pairs
    credibility = effective / (effective + 100)
    return credibility * t / (t + 2) + (1 - credibility) / 4


@pytest.mark.parametrize("seed", range(4))
def test_the_share_is_that_of_all_pairs_of_a_text(seed):
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 12, 80)
    left = rng.normal(size=12)[text] * (seed % 2) + rng.normal(size=80)
    weight = rng.uniform(0.2, 3.0, 80)
    weight[:5] = 0.0
    found = between_text_share(left, weight, text)
    assert found == pytest.approx(share_written_out(left, weight, text), rel=1e-9)
    assert found == pytest.approx(between_text_share(1e-290 * left, 7 * weight, 100 - text), rel=1e-9)


def test_an_objective_is_corrected_as_by_regression_and_residuals_mixed():
    """Any ratio of the text meets the same mean as (1 - k) regression + k residuals: no text is favoured."""
    rng = np.random.default_rng(0)
    text, n = rng.integers(0, 40, 500), 500
    residual, regression = rng.normal(size=40)[text] + rng.normal(size=n), rng.normal(size=n)
    weight = rng.uniform(0.5, 2.0, n)
    found = with_text_effects(regression, residual, weight, text)
    k = between_text_share(residual - regression, weight, text)
    assert 0.5 < k < 1.0
    ratio = np.exp(rng.normal(size=40))[text]
    mixed = (1 - k) * regression + k * residual
    assert np.average(ratio * found, weights=weight) == pytest.approx(np.average(ratio * mixed, weights=weight))
    for code in range(40):
        assert np.ptp(found[text == code]) < 1e-12


def test_a_text_without_exposure_keeps_its_regression():
    text, weight = np.array([0, 0, 1, 1, 2]), np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    residual = np.array([3.0, 3.0, -3.0, -3.0, np.pi])
    found = with_text_effects(np.full(5, 0.5), residual, weight, text)
    assert found[4] == 0.5
    assert found[0] > 0.5 > found[2]


def test_noise_of_any_spread_is_not_taken_for_texts():
    """Noise ten times as wide in some texts and rows as in others: t is about standard normal, and k small.

    E[t / (t + 2); t > 0] is 0.125 for a standard normal t; the mean of 200 has a standard error of 0.012, so that it is
    outside of 0.125 +- 0.06 with a probability below 1e-5 (t is not quite normal, and credibility adds 0.01).
    """
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        text = rng.integers(0, 300, 2000)
        spread = np.exp(0.8 * rng.normal(size=300)[text] + 0.5 * rng.normal(size=2000))
        found.append(between_text_share(spread * rng.normal(size=2000), np.ones(2000), text))
    assert abs(np.mean(found) - 0.125) < 0.06


def test_effects_are_found_at_about_one_row_a_text():
    """A tenth of the variance lies between 1,800 texts of 2,000 rows: some 1,100 pairs, t about 3.3 (k 0.6)."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        text = rng.integers(0, 1800, 2000)
        left = rng.normal(size=1800)[text] / 3 + rng.normal(size=2000)
        found.append(between_text_share(left, np.ones(2000), text))
    assert np.mean(found) > 0.5
    assert between_text_share(left, np.ones(2000), np.arange(2000)) == 0.25


@pytest.mark.parametrize("sees", [True, False])
def test_the_best_policy_at_a_quarter_nat(sees):
    """Free in every one of 60 texts; the residual is the whole effect, which the embedding shows or does not.

    Over 30 other samples the share of the best was 0.973 (standard deviation 0.024) where the embedding shows it and
    0.936 (0.048) where it does not, and there -0.22 (0.15) with the ridge alone: the mean of 8 passes a limit by chance
    with a probability below 1e-6.
    """
    shares = np.mean([shares_of_best(seed, sees) for seed in range(8)], axis=0)
    assert shares[1] > 0.85
    if not sees:
        assert shares[0] < 0.3


def shares_of_best(seed, sees, k=60, n=2000):
    rng = np.random.default_rng([11, seed])
    features, log_q = rng.normal(size=(k, 5)), np.full(k, -np.log(k))
    g = features @ rng.normal(size=5) / np.sqrt(5)
    x = features if sees else rng.normal(size=(k, 5))
    text = rng.integers(0, k, n)
    residual = g[text] + 1.5 * rng.normal(size=n)
    found = []
    for model in ("ridge", "ridge-text"):
        expected = expected_residual(x[text], residual, np.ones(n), text % 5, text, model)
        value = np.bincount(text, weights=expected, minlength=k) * k / n
        policy = np.exp(tilt(log_q, value, temperature_at(log_q, value, 0.25)))
        best = np.exp(tilt(log_q, g, temperature_at(log_q, g, 0.25)))
        found.append((policy @ g - g.mean()) / (best @ g - g.mean()))
    return found
