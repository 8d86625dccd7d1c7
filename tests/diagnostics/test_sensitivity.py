"""Omitted-variable bounds: a world with a hidden confounder, resampling, and the limits of every strength."""

import numpy as np
import pytest

from causalopt.errors import ConfigError, DataError
from causalopt.evaluation import Estimate, benchmark, dm, dr, riesz_representer, sensitivity, sndr


def skewed(rng, n):
    """Rows whose residual and alpha go together, so that the estimate and the size of the bias are correlated."""
    log_ratio = rng.normal(-0.18, 0.6, n)
    residual = (rng.exponential(1.0, n) - 1.0) * (1 + np.exp(log_ratio))
    return log_ratio, residual


def prepared(log_ratio, residual, **options):
    estimate = dr(log_ratio, 1.0 + residual, np.ones(len(residual)), 1.0, **options)
    alpha = riesz_representer(log_ratio, np.ones(len(residual)))
    return sensitivity(estimate, residual, alpha, weight=options.get("weight"))


def test_elements_written_out(study):
    residual, s = study.xi - study.g, np.exp(0.2 * study.reader)
    alpha = np.exp(study.log_ratio) * s
    estimate = dr(study.log_ratio, study.xi, study.g, study.g_policy, weight=study.weight)
    ours = sensitivity(estimate, residual, riesz_representer(study.log_ratio, s), weight=study.weight)
    sigma2 = (study.weight * residual**2).sum() / study.weight.sum()
    nu2 = (study.weight * alpha**2).sum() / study.weight.sum()
    np.testing.assert_allclose([ours.sigma2, ours.nu2], [sigma2, nu2], rtol=1e-10)
    bias = np.sqrt(sigma2 * nu2) * np.sqrt(0.1 * 0.2 / 0.8)
    bounds = ours.bounds(0.1, 0.2)
    np.testing.assert_allclose([bounds.low, bounds.high], [estimate.value - bias, estimate.value + bias], rtol=1e-10)


def test_errors_of_the_bounds_agree_with_resampling():
    rng = np.random.default_rng(0)
    log_ratio, residual = skewed(rng, 2000)
    ours = prepared(log_ratio, residual)
    strength = np.sqrt(0.3 * 0.3 / 0.7)
    low, high = ours.estimate - ours.max_bias * strength, ours.estimate + ours.max_bias * strength
    values = []
    for _ in range(2000):
        pick = rng.integers(0, 2000, 2000)
        again = prepared(log_ratio[pick], residual[pick])
        values.append([again.estimate.value, again.max_bias.value * strength])
    theta, bias = np.array(values).T
    # a resampled standard deviation of 2,000 values has an error of some 2%; the two bounds differ by far more
    assert high.se == pytest.approx((theta + bias).std(), rel=0.1)
    assert low.se == pytest.approx((theta - bias).std(), rel=0.1)
    assert high.se > 1.3 * low.se


def test_the_truth_lies_within_the_bounds_of_the_true_strength():
    """y = x + u + noise and P(x = 1 | u) depends on a hidden u: exact strengths bound the exact bias."""
    p = np.array([0.3, 0.7])  # P(x = 1 | u), u even
    marginal = p.mean()
    policy = 0.9  # P^f(x = 1)
    rng = np.random.default_rng(1)
    n = 200_000
    u = rng.binomial(1, 0.5, n)
    x = rng.binomial(1, p[u])
    y = x + 2.0 * u + rng.normal(size=n)
    mean_u = np.array([(1 - p).dot([0, 0.5]) / (1 - marginal), p.dot([0, 0.5]) / marginal])  # E[u | x]
    m = x + 2.0 * mean_u[x]
    rho = np.where(x == 1, policy / marginal, (1 - policy) / (1 - marginal))
    g_policy = policy * (1 + 2 * mean_u[1]) + (1 - policy) * 2 * mean_u[0]
    estimate = dr(np.log(rho), y, m, float(g_policy))
    ours = sensitivity(estimate, y - m, riesz_representer(np.log(rho), np.ones(n)))
    truth = policy * 1 + 2 * 0.5
    # strengths from the population law of (u, x)
    joint = np.array([[0.5 * (1 - p[0]), 0.5 * p[0]], [0.5 * (1 - p[1]), 0.5 * p[1]]])
    gain = sum(joint[a, b] * (2.0 * (a - mean_u[b])) ** 2 for a in (0, 1) for b in (0, 1))
    law = np.array([1 - policy, policy])
    long_alpha = np.array([[law[b] / (p[a] if b else 1 - p[a]) for b in (0, 1)] for a in (0, 1)])
    short_alpha = law / np.array([1 - marginal, marginal])
    cf_y = gain / (gain + 1.0)
    cf_d = 1 - (joint.sum(axis=0) * short_alpha**2).sum() / (joint * long_alpha**2).sum()
    bounds = ours.bounds(cf_y, cf_d)
    assert abs(estimate.value - truth) > 20 * estimate.se  # badly confounded
    assert bounds.low - 4 * estimate.se < truth < bounds.high + 4 * estimate.se
    assert ours.bounds(cf_y / 4, cf_d / 4).low > truth  # a quarter of the strength would not explain it


def test_no_confounding_is_the_plain_interval(study):
    ours = prepared(study.log_ratio, study.xi, cluster=study.texts)
    bounds = ours.bounds(0.0, 0.5)
    assert bounds.low == bounds.high == ours.estimate.value
    np.testing.assert_allclose([bounds.ci_low, bounds.ci_high], ours.estimate.confint(), rtol=1e-12)


def test_the_robustness_value_is_where_the_bound_meets_the_null(study):
    ours = prepared(study.log_ratio, study.xi)
    for null in (0.0, 10.0):
        value = ours.robustness_value(null)
        bounds = ours.bounds(value, value)
        np.testing.assert_allclose(bounds.low if null == 0 else bounds.high, null, atol=1e-9)
        limit = ours.robustness_value(null, level=0.9)
        assert 0 < limit < value
        bounds = ours.bounds(limit, limit, level=0.9)
        np.testing.assert_allclose(bounds.ci_low if null == 0 else bounds.ci_high, null, atol=1e-9)
    assert ours.robustness_value(ours.estimate.value) == 0.0
    assert ours.robustness_value(ours.estimate.value + 0.01 * ours.estimate.se, level=0.95) == 0.0
    assert "hidden confounder" in ours.summary()


def test_a_difference_has_the_difference_of_the_representers(study):
    s = np.exp(0.2 * study.reader)
    alpha = riesz_representer(study.log_ratio, s, log_ratio_reference=study.log_ratio_other)
    np.testing.assert_allclose(alpha, (np.exp(study.log_ratio) - np.exp(study.log_ratio_other)) * s, rtol=1e-10)
    normalized = riesz_representer(study.log_ratio + 700, s, self_normalize=True, weight=study.weight)
    rho = np.exp(study.log_ratio)
    np.testing.assert_allclose(normalized, rho / np.average(rho, weights=study.weight) * s, rtol=1e-9)
    same = riesz_representer(study.log_ratio, s, log_ratio_reference=study.log_ratio)
    assert not same.any()


def test_a_difference_of_self_normalised_values_can_be_bounded(study):
    new = sndr(study.log_ratio, study.xi, study.g, study.g_policy)
    old = sndr(study.log_ratio_other, study.xi, study.g, study.g_policy_other)
    alpha = riesz_representer(
        study.log_ratio, np.ones(study.n), log_ratio_reference=study.log_ratio_other, self_normalize=True
    )
    bounds = sensitivity(new - old, study.xi - study.g, alpha).bounds(0.03, 0.03)
    assert bounds.ci_low < bounds.low < (new - old).value < bounds.high < bounds.ci_high


def test_a_covariate_s_strength_is_in_the_terms_of_the_bounds():
    """Leaving u out of a linear model: bounds of that strength end at the estimate with u, and smaller ones do not."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=20_000)
    x = 0.8 * u + rng.normal(size=20_000)
    y = x + u + rng.normal(size=20_000)
    without, both = x[:, None], np.column_stack([x, u])
    prepared = []
    for design in (both, without):
        beyond = x - design[:, 1:] @ np.linalg.lstsq(design[:, 1:], x)[0]
        slope = np.linalg.lstsq(design, y)[0]
        alpha = beyond / np.mean(beyond**2)
        prepared.append(sensitivity(Estimate(slope[0], np.zeros(20_000)), y - design @ slope, alpha))
    long, short = prepared
    found = benchmark(long, short)
    assert found.outcome_share == pytest.approx(1 / (1 + 1.64), abs=0.02)  # var(u | x) = 1 / 1.64, var(y | x, u) = 1
    assert found.assignment_share == pytest.approx(0.64 / 1.64, abs=0.02)  # the R^2 of x given u
    bounds = short.bounds(found.outcome_share, found.assignment_share, rho=found.rho)
    np.testing.assert_allclose(bounds.low, long.estimate.value, atol=1e-9)
    np.testing.assert_allclose(found.cf_d, found.assignment_share / (1 - found.assignment_share), rtol=1e-12)


def test_no_residual_variance_leaves_nothing_to_hide():
    ours = sensitivity(Estimate(1.0, np.array([0.1, -0.1])), np.zeros(2), np.ones(2))
    assert ours.robustness_value() == 1.0
    assert ours.bounds(0.5, 0.5).low == 1.0
    assert benchmark(ours, ours).cf_y == 0.0


def test_bad_input_is_named(study):
    ours = prepared(study.log_ratio, study.xi)
    with pytest.raises(ConfigError, match="cf_d must be a number of at least 0 and below 1"):
        ours.bounds(0.1, 1.0)
    with pytest.raises(ConfigError, match="rho"):
        ours.robustness_value(rho=0.0)
    with pytest.raises(DataError, match="0 rows, residual on 240"):
        sensitivity(dm(study.g_policy), study.xi, study.xi)
    with pytest.raises(DataError, match="must be positive"):
        sensitivity(ours.estimate, study.xi, study.xi, alpha_moment=np.zeros(study.n))
    with pytest.raises(DataError, match="log_ratio_reference has 10 rows"):
        riesz_representer(study.log_ratio, np.ones(study.n), log_ratio_reference=np.zeros(10))
