"""The augmented balancing estimator: arithmetic, errors by cluster, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.errors import DataError
from causalopt.evaluation import balance, dr, sndr


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(1.0, 1.0, size=60), rng.normal(size=60), rng.uniform(0.5, 2.0, size=60), np.arange(60) // 4


def test_with_ratios_for_weights_it_is_the_doubly_robust_value():
    """dr has ratios and pseudo-outcomes where this has weights and residuals; with s = 1 they are the same numbers."""
    rng = np.random.default_rng(1)
    log_ratio, residual, g = rng.normal(size=(3, 60))
    weight, cluster = rng.uniform(0.5, 2.0, size=60), np.arange(60) // 4
    options = {"weight": weight, "cluster": cluster, "reader_response": rng.normal(size=60)}
    ours = balance(np.exp(log_ratio), residual, 0.3, **options)
    theirs = dr(log_ratio, g + residual, g, 0.3, **options)
    assert ours.value == pytest.approx(theirs.value, rel=1e-12)
    assert ours.se == pytest.approx(theirs.se, rel=1e-12)
    assert ours.df == pytest.approx(theirs.df, rel=1e-12)


def test_its_error_is_that_of_leaving_out_one_cluster_after_another(rows):
    alpha, residual, weight, cluster = rows
    found = balance(alpha, residual, 0.0, weight=weight, cluster=cluster)
    without = np.array([np.average((alpha * residual)[cluster != g], weights=weight[cluster != g]) for g in range(15)])
    assert found.value == pytest.approx(np.average(alpha * residual, weights=weight))
    assert found.se == pytest.approx(np.sqrt(14 / 15 * np.sum((without - without.mean()) ** 2)), rel=1e-9)


def test_a_difference_is_that_of_the_weights(rows):
    alpha, residual, weight, cluster = rows
    other = np.random.default_rng(2).normal(1.0, 0.3, size=60)
    options = {"weight": weight, "cluster": cluster}
    apart = balance(alpha, residual, 2.0, **options) - balance(other, residual, 1.5, **options)
    direct = balance(alpha - other, residual, 0.5, **options)
    assert apart.value == pytest.approx(direct.value, rel=1e-10)
    assert apart.se == pytest.approx(direct.se, rel=1e-10)
    same = balance(alpha, residual, 2.0, **options) - balance(alpha, residual, 2.0, **options)
    assert (same.value, same.se) == (0.0, 0.0)


def test_a_column_that_cannot_be_used_is_named(rows):
    alpha, residual, *_ = rows
    with pytest.raises(DataError, match="alpha has 1 row"):
        balance(alpha[:1], residual[:1], 0.0)
    with pytest.raises(DataError, match="residual"):
        balance(alpha, residual[:5], 0.0)
    with pytest.raises(DataError, match="alpha"):
        balance(np.where(np.arange(60) == 3, np.nan, alpha), residual, 0.0)


def test_details_hold_its_parts(rows):
    alpha, residual, *_ = rows
    found = balance(alpha, residual, 2.0)
    assert found.details["plug_in"] + found.details["correction"] == pytest.approx(found.value)
    size = alpha.sum() ** 2 / np.sum(alpha**2)
    assert found.details["effective_rows"] == pytest.approx(size)
    assert sndr(np.zeros(60), residual, np.zeros(60), 2.0).value == pytest.approx(
        balance(np.ones(60), residual, 2.0).value
    )


def test_rows_without_an_outcome_are_no_part_of_the_mean_of_the_residuals(rows):
    """Leave-one-out by hand: without a cluster its observed rows leave numerator and denominator."""
    alpha, residual, weight, cluster = rows
    observed = np.random.default_rng(4).random(60) < 0.5
    rate = np.average(observed, weights=weight)
    of_rated = alpha / np.average(alpha[observed], weights=weight[observed])
    alpha = np.where(observed, of_rated / rate, 0.0)
    residual = np.where(observed, residual, 0.0)
    found = balance(alpha, residual, 0.0, observed=observed, weight=weight, cluster=cluster)
    terms, counted = of_rated * residual, weight * observed
    kept = [cluster != g for g in range(15)]
    without = np.array([np.average(terms[one], weights=counted[one]) for one in kept])
    assert found.value == pytest.approx(np.average(terms, weights=counted))
    assert found.se == pytest.approx(np.sqrt(14 / 15 * np.sum((without - without.mean()) ** 2)), rel=1e-9)
    everybody = balance(of_rated, residual, 0.0, observed=np.ones(60), weight=weight, cluster=cluster)
    assert everybody.se == balance(of_rated, residual, 0.0, weight=weight, cluster=cluster).se
    with pytest.raises(DataError, match=r"but the outcome of this row was not observed: it must be 0"):
        balance(of_rated, residual, 0.0, observed=observed)
    with pytest.raises(DataError, match="observed must be 0 or 1"):
        balance(alpha, residual, 0.0, observed=observed * 2.0)
