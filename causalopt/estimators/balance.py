"""The balancing estimator: the plug-in mean, corrected by residuals with weights that balance the logged rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from causalopt.arrays import as_exposure, as_vector
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.dm import PlugIn
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import mean_over_readers, weighted_mean
from causalopt.typing import Float64


def balance(
    alpha: Any,
    residual: Any,
    g_policy: Any,
    *,
    observed: Any = None,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Augmented balancing value: ``mean_j g(x~_j) + mean_i alpha_i (y_i - m_i)``.

    Parameters
    ----------
    alpha:
        Balancing weight of each row, shape [n], such as `causalopt.nuisance.riesz.balancing_weights` finds. It may be
        negative.
    residual:
        Outcome minus prediction, y_i - m_i, shape [n], outcome units; m from a model that was not fitted on row i.
    observed:
        Whether each row's outcome was observed, shape [n]; None if all were. alpha is then 0 in the others, and its
        mean over all rows is one, so that the correction is a mean over the observed rows alone.
    g_policy, reader_response, weight, cluster:
        As in `causalopt.evaluation.dr`.

    Returns
    -------
    Estimate
        ``details`` holds ``plug_in`` and ``correction``, whose sum is the value, and ``effective_rows``,
        (sum a_i alpha_i)^2 / sum (a_i alpha_i)^2 with exposures a_i.

    Raises
    ------
    DataError
        On arrays that are not finite or of different lengths, or fewer than two rows.

    Notes
    -----
    The correction removes the bias of m as far as the weights balance its error: for alpha the Riesz representer,
    E[alpha (Y - m)] = V - V_m for every m (Chernozhukov, Newey and Singh 2022; Hirshberg and Wager 2021). The standard
    error treats the weights, which are functions of texts and covariates, as fixed.

    Examples
    --------
    >>> from causalopt.evaluation import balance
    >>> balance([1.5, 0.5, 1.0, 1.0], [0.4, -0.2, 0.1, -0.1], 2.0).value
    2.125
    """
    alpha = as_vector("alpha", alpha)
    n = len(alpha)
    if n < 2:
        raise DataError(f"alpha has {n} rows: an estimate needs at least two")
    residual, exposure, codes = as_vector("residual", residual, n), as_exposure(weight, n), cluster_codes(cluster, n)
    plug_in = PlugIn.of(g_policy, exposure)
    counted, rate = _observed(observed, alpha, exposure)
    term = alpha * residual
    center = weighted_mean(term, exposure)
    # A mean over the observed rows: given who responded the weights are fixed, and a cluster that is left out takes its
    # observed rows out of the denominator.
    influence = counted * (term - center / rate)
    share = exposure * alpha / n
    leverage = counted / (n * rate)
    correction = Estimate(center, influence, codes, deletions=deletions_of_mean(influence, leverage, codes, share))
    found = plug_in.estimate(codes) + correction
    if reader_response is not None:
        found = found + mean_over_readers(as_vector("reader_response", reader_response, n), exposure, codes)
    largest = float(np.abs(share).max())  # scaled, so that no square overflows or vanishes
    size = float(np.sum(share / largest) ** 2 / np.sum((share / largest) ** 2)) if largest > 0 else 0.0
    details = {"plug_in": plug_in.value, "correction": center, "effective_rows": size}
    return replace(found, estimator="balance", details=details)


def _observed(observed: Any, alpha: Float64, exposure: Float64) -> tuple[Float64, float]:
    """Exposure of the observed rows, shape [n], and their share of it."""
    if observed is None:
        return exposure, 1.0
    flags = as_vector("observed", observed, len(alpha))
    if np.any((flags != 0) & (flags != 1)):
        raise DataError("observed must be 0 or 1, or false or true")
    if np.any(alpha[flags == 0] != 0):
        row = int(np.argmax((flags == 0) & (alpha != 0)))
        raise DataError(f"alpha[{row}] is {alpha[row]:g}, but the outcome of this row was not observed: it must be 0")
    counted = exposure * flags
    if not counted.sum() > 0:
        raise DataError("no row with a positive weight has an outcome that was observed")
    return counted, float(counted.mean())
