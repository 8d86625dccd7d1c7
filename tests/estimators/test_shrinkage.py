"""The choice of threshold and shrinkage: against a brute-force loop, and by what it is for, a smaller error."""

import math

import numpy as np
import pytest

from causalopt.estimators.shrinkage import choose_lambda, choose_tau
from causalopt.estimators.weights import WeightedRows
from causalopt.evaluation import dr, dr_os, switch_dr


def heavy(rng, n, g_error):
    """Log-normal ratios of mean one; y = 1 + 0.5 log rho + noise, with g off by a constant."""
    log_ratio = rng.normal(-1.125, 1.5, n)
    truth_g = 1 + 0.5 * log_ratio
    y = truth_g + rng.normal(size=n)
    draws = 1 + 0.5 * rng.normal(-1.125 + 2.25, 1.5, 4 * n)  # the policy's law of log rho is shifted by its variance
    value = 1 + 0.5 * 1.125
    return log_ratio, y, truth_g + g_error, draws + g_error, value


def brute_force(candidates, transform, bias, rho, residual, weight):
    best, smallest = None, math.inf
    n = len(rho)
    a = weight / weight.mean()
    for candidate in candidates:
        kept = np.array([transform(r, candidate) for r in rho])
        term = kept * residual
        influence = a * (term - (a * term).mean())
        variance = (influence**2).sum() / (n * (n - 1))
        error = variance + bias(kept, candidate) ** 2
        if error <= smallest:
            best, smallest = candidate, error
    return best


@pytest.mark.parametrize("seed", range(5))
def test_choice_equals_brute_force(seed):
    rng = np.random.default_rng(seed)
    log_ratio, y, g, _, _ = heavy(rng, 200, 0.3)
    rho, residual, weight = np.exp(log_ratio), y - g, rng.uniform(0.5, 2, 200)
    a = weight / weight.mean()
    rows = WeightedRows.of(log_ratio, weight)
    low, high = math.exp(np.quantile(log_ratio, 0.05)), math.exp(np.quantile(log_ratio, 0.95))
    tau = brute_force(
        [*np.geomspace(low, high, 21), math.inf],
        lambda r, t: r if r <= t else 0.0,
        lambda kept, t: (a * rho * (rho > t)).mean() * math.sqrt((a * residual**2).mean()),
        rho,
        residual,
        weight,
    )
    lam = brute_force(
        [*np.geomspace(0.01 * low**2, 100 * high**2, 30), math.inf],
        lambda r, v: r if v == math.inf else v * r / (r * r + v),
        lambda kept, v: (a * (rho - kept) * residual).mean(),
        rho,
        residual,
        weight,
    )
    assert choose_tau(rows, residual) == pytest.approx(tau, rel=1e-9)
    assert choose_lambda(rows, residual) == pytest.approx(lam, rel=1e-9)


def root_mean_square(estimator, g_error, repeats=300, n=300):
    rng = np.random.default_rng(11)
    errors = []
    for _ in range(repeats):
        log_ratio, y, g, draws, value = heavy(rng, n, g_error)
        errors.append(estimator(log_ratio, y, g, draws).value - value)
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.filterwarnings("ignore::causalopt.errors.OverlapWarning")
def test_shrinkage_gains_where_g_is_right_and_loses_little_where_it_is_wrong():
    # 300 replications with heavy weights: the ratio of two RMSEs on the same data has a standard error near 0.05
    assert root_mean_square(dr_os, 0.0) < 0.8 * root_mean_square(dr, 0.0)
    assert root_mean_square(dr_os, 1.0) < 1.2 * root_mean_square(dr, 1.0)
    assert root_mean_square(switch_dr, 0.0) < 0.95 * root_mean_square(dr, 0.0)
    assert root_mean_square(switch_dr, 1.0) < 1.2 * root_mean_square(dr, 1.0)
