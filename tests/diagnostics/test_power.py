"""Power against closed forms, simulation and statsmodels' tables of sample sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from causalopt.diagnostics.power import arm_size, chi_square_of_tilt, detectable, power_of
from causalopt.errors import DataError


@pytest.mark.parametrize("kl", [0.05, 0.25, 1.0])
def test_chi_square_is_that_of_a_tilted_normal(kl):
    t = math.sqrt(2 * kl)
    z = np.linspace(-12, 12, 200_001)
    base, tilted = stats.norm.pdf(z), stats.norm.pdf(z, loc=t)
    ratio = tilted / base
    assert np.trapezoid(tilted * np.log(ratio), z) == pytest.approx(kl, rel=1e-9)
    assert np.trapezoid(base * (ratio - 1) ** 2, z) == pytest.approx(chi_square_of_tilt(kl), rel=1e-9)


@pytest.mark.parametrize("kl", [0.0, -1.0, math.inf, math.nan])
def test_a_distance_that_is_none(kl):
    with pytest.raises(DataError, match="kl must be above 0"):
        chi_square_of_tilt(kl)


def test_a_test_finds_the_detectable_difference_as_often_as_it_says():
    """20,000 t tests of 21 normal numbers: the share found is 0.8 within 4.5 standard errors (fails once in 10^5)."""
    rng, n = np.random.default_rng(0), 21
    effect = detectable(1 / math.sqrt(n), df=n - 1)
    sample = rng.standard_normal((20_000, n)) + effect
    found = np.mean(stats.ttest_1samp(sample, 0.0, axis=1).pvalue < 0.05)
    # The sum of two quantiles of Student's t is an approximation to the noncentral one: exact to 0.01 here.
    assert found == pytest.approx(0.8, abs=0.01 + 4.5 * math.sqrt(0.16 / 20_000))


# Cohen (1988), table 2.4.1: n in each group for a two-sided test at 0.05 with 80% power, by the t test; by the normal
# distribution it is at most one less.
@pytest.mark.parametrize(("d", "cohen"), [(0.2, 393), (0.5, 64), (0.8, 26)])
def test_arms_are_as_large_as_in_cohens_table(d, cohen):
    assert 0 <= cohen - arm_size(d, 1.0) <= 1
    assert arm_size(-3 * d, 9.0) == arm_size(d, 1.0)


def test_no_number_shows_nothing():
    assert arm_size(0.0, 1.0) is None


@pytest.mark.parametrize("rows_per_text", [1, 4])
def test_the_standard_error_is_the_spread_of_the_estimate(rows_per_text):
    """2,000 tables with text effects that no model knows: the spread within 8% (its own error: 1.6%; 5 of these)."""
    rng, texts, kl, tables = np.random.default_rng(1), 400, 0.25, 2_000
    t, text = math.sqrt(2 * kl), np.repeat(np.arange(texts), rows_per_text)
    estimates, predicted = [], []
    for _ in range(tables):
        z = rng.standard_normal(texts)
        error = 0.5 * rng.standard_normal(texts)[text] + rng.standard_normal(len(text))
        ratio = np.exp(t * z - kl)
        estimates.append(np.mean((ratio[text] - 1) * error))
        predicted.append(power_of(error, text, np.zeros(len(text)), kl=kl).se)
    assert np.sqrt(np.mean(np.square(predicted))) == pytest.approx(np.std(estimates), rel=0.08)


def test_weights_rows_and_draws_enter_as_they_should():
    rng = np.random.default_rng(2)
    error, text, g = rng.standard_normal(500), np.arange(500), rng.standard_normal(500)
    plain = power_of(error, text, g)
    assert power_of(error, text, g, kept=0.25).se == pytest.approx(2 * plain.se)
    assert power_of(error, text, g, rows=2000).se == pytest.approx(plain.se / 2)
    assert power_of(error, text, g, rows=2000).units == pytest.approx(2000)
    assert plain.at(4).smallest_gain == pytest.approx(plain.smallest_gain / 2, rel=0.01)
    assert power_of(error, text, g, weight=np.full(500, 7.0)).se == pytest.approx(plain.se)
    with_draws = power_of(error, text, g, draws=100).se
    assert with_draws**2 - plain.se**2 == pytest.approx(2 * g.var() / 100)
    assert plain.attainable == pytest.approx(math.sqrt(0.5) * g.std())
    assert plain.effective_units == pytest.approx(500 * math.exp(-0.5))


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        power_of(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))
