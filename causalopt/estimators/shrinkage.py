"""Switching and shrinkage of the ratios in the correction term, with thresholds chosen from the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from causalopt.errors import OverlapError
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.weights import WeightedRows, centered, weighted_mean
from causalopt.typing import Float64, Int64


def switched(rows: WeightedRows, tau: float) -> WeightedRows:
    """Set the ratios above ``tau`` to zero."""
    with np.errstate(divide="ignore"):
        kept = rows.log_ratio <= np.log(tau)
    return WeightedRows(np.where(kept, rows.log_ratio, -np.inf), rows.exposure)


def shrunk(rows: WeightedRows, lam: float) -> WeightedRows:
    """Replace each ratio by ``lam * rho / (rho^2 + lam)``, in logs; lam = inf leaves it unchanged."""
    if lam == np.inf:
        return rows
    if lam == 0:
        return WeightedRows(np.full(rows.n, -np.inf), rows.exposure)
    # log(lam rho / (rho^2 + lam)) in terms of log rho: rho^2 and lam * rho may overflow a float.
    log_lam = np.log(lam)
    return WeightedRows(rows.log_ratio + log_lam - np.logaddexp(2 * rows.log_ratio, log_lam), rows.exposure)


def lost_mass(rows: WeightedRows, kept: WeightedRows) -> float:
    """Share of the exposure-weighted sum of ratios that is missing in ``kept``, between 0 and 1."""
    log_share = np.logaddexp.reduce(kept.log_weight) - np.logaddexp.reduce(rows.log_weight)
    return float(max(0.0, -np.expm1(log_share)))


def choose_tau(rows: WeightedRows, residual: Float64, cluster: tuple[Int64, ...] = ()) -> float:
    """Threshold of `switch_dr` with the smallest ``variance + bias^2``.

    The variance is that of the correction (clustered); the bias of switching is taken as the policy's mass above the
    threshold, ``mean_i rho_i 1{rho_i > tau}``, times the root mean squared residual. Candidates: 21 thresholds spaced
    evenly in logs between the 5% and 95% quantiles of the ratio, and inf.

    Notes
    -----
    Wang, Agarwal and Dudik (2017) multiply the mass by the largest mean reward. Here the root mean square of the
    residual is used instead: the largest residual is mostly noise, and with it no threshold below inf is ever chosen.
    Rows of ratio zero, such as those whose outcome was not observed, have no part in it.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.estimators.shrinkage import choose_tau
    >>> from causalopt.estimators.weights import WeightedRows
    >>> choose_tau(WeightedRows.of(np.zeros(4)), np.array([1.0, -1.0, 2.0, 0.0]))
    inf
    """
    counted = np.where(rows.log_ratio > -np.inf, rows.exposure, 0.0)
    size = float(np.sqrt(weighted_mean(residual**2, counted / counted.mean())))

    def bias(kept: WeightedRows, dropped: Float64) -> float:
        return weighted_mean(dropped, rows.exposure) * size

    return _smallest_error(_spaced(rows, 21, 0.0, 0.0, 1), switched, bias, rows, residual, cluster)


def choose_lambda(rows: WeightedRows, residual: Float64, cluster: tuple[Int64, ...] = ()) -> float:
    """Shrinkage of `dr_os` with the smallest ``variance + bias^2``.

    The variance is that of the shrunk correction (clustered). The bias is estimated directly, as the part of the
    correction that shrinkage removes, ``mean_i (rho_i - shrunk_i) * residual_i``. This estimate is as noisy as the
    removed part, which increases the expectation of its square: weights are shrunk only if the variance falls by
    more. Candidates:
    30 values spaced evenly in logs from 0.01 times the squared 5% quantile of the ratio to 100 times the squared 95%
    quantile, and inf, for which the bias is zero.

    Notes
    -----
    Model selection as in Su, Dimakopoulou, Krishnamurthy and Dudik (2020), with the direct estimate of the bias.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.estimators.shrinkage import choose_lambda
    >>> from causalopt.estimators.weights import WeightedRows
    >>> choose_lambda(WeightedRows.of(np.zeros(4)), np.array([1.0, 1.1, 0.9, 1.0]))
    inf
    """

    def bias(kept: WeightedRows, dropped: Float64) -> float:
        return weighted_mean(dropped * residual, rows.exposure)

    return _smallest_error(_spaced(rows, 30, np.log(0.01), np.log(100.0), 2), shrunk, bias, rows, residual, cluster)


def _spaced(rows: WeightedRows, count: int, below: float, above: float, power: int) -> Float64:
    positive = rows.log_ratio[(rows.log_ratio > -np.inf) & (rows.exposure > 0)]
    low, high = np.quantile(positive, [0.05, 0.95])
    with np.errstate(over="ignore"):
        return np.append(np.exp(np.linspace(power * low + below, power * high + above, count)), np.inf)


def _smallest_error(
    candidates: Iterable[float],
    transform: Callable[[WeightedRows, float], WeightedRows],
    bias: Callable[[WeightedRows, Float64], float],
    rows: WeightedRows,
    residual: Float64,
    cluster: tuple[Int64, ...],
) -> float:
    best, smallest = np.inf, np.inf
    ratio = rows.ratio()
    for candidate in candidates:
        kept = transform(rows, candidate)
        term = kept.ratio() * residual
        with np.errstate(over="ignore"):
            # Mean squared error of the correction alone: the plug-in part is the same for every candidate.
            variance = np.square(Estimate(0.0, centered(term, rows.exposure), cluster).se)
            error = float(variance + np.square(bias(kept, ratio - kept.ratio())))
        if error <= smallest:
            best, smallest = float(candidate), error
    if not np.isfinite(smallest):
        raise OverlapError(
            f"the largest log-ratio is {rows.log_ratio.max():.6g} nats: no threshold has an error that a float can "
            "hold; use a self-normalised estimator (sndr)"
        )
    return best
