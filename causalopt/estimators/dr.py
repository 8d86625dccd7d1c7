"""Doubly robust values: the plug-in mean, corrected by the weighted residual of the logged rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from causalopt.doors import as_float, is_number
from causalopt.errors import ConfigError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.dm import PlugIn
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.shrinkage import choose_lambda, choose_tau, lost_mass, shrunk, switched
from causalopt.estimators.weights import WeightedRows, ratio_estimate
from causalopt.signatures import shown
from causalopt.typing import Float64


def dr(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Doubly robust value: ``mean_j g(x~_j) + mean_i rho_i * (xi_i - g_i)``.

    Parameters
    ----------
    log_ratio, reader_response, weight, cluster:
        As in `causalopt.evaluation.ipw`, as are errors and warnings. Without ``reader_response`` the interval
        under-covers if the covariates affect the outcome.
    xi, g:
        Pseudo-outcome and dose response of each row, shape [n], outcome units; their difference is the
        weighted residual s_i * (y_i - m_i).
    g_policy:
        Dose response at m draws from the policy, shape [m], whose Monte Carlo variance is included; or [n, k], k draws
        in the context (prompt) of each row, or `causalopt.estimators.dm.ContextDraws` of some rows; or one
        number, if the mean is known exactly. At a logged text it must be that row's ``g``, from the model that was not
        fitted on the text: otherwise the effect would be counted twice.

    Returns
    -------
    Estimate
        ``details`` holds ``plug_in`` and ``correction``, whose sum is the value.

    Notes
    -----
    Dudik, Langford and Li (2011), with the pseudo-outcome of Kennedy, Ma, McHugh and Small (2017) in place of the
    outcome, as in Lin, Ben-Michael and Morency (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import dr
    >>> dr(np.log([2.0, 1.0, 0.5, 0.5]), [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 3.0, 3.0], [1.0, 3.0]).value
    2.375
    """
    rows, residual = _rows(log_ratio, xi, g, weight)
    ratio = rows.ratio()
    rows.warn_if_thin("dr", cluster)
    return _doubly_robust(rows, ratio, residual, g_policy, reader_response, cluster, "dr")


def sndr(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Self-normalised doubly robust value: ``mean_j g(x~_j) + sum_i rho_i * (xi_i - g_i) / sum_i rho_i``.

    The default estimator: safe for log-ratios of any size, and unchanged if they shift by a constant. Parameters as in
    `dr`; a single row that carries the whole weight raises `OverlapError`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import sndr
    >>> log_ratio = np.log([2.0, 1.0, 0.5, 0.5]) - 700.0
    >>> round(sndr(log_ratio, [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 3.0, 3.0], [1.0, 3.0]).value, 6)
    2.375
    """
    rows, residual = _rows(log_ratio, xi, g, weight)
    ratio = rows.normalized_ratio()
    rows.warn_if_thin("sndr", cluster)
    return _doubly_robust(rows, ratio, residual, g_policy, reader_response, cluster, "sndr", self_normalized=True)


def switch_dr(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    tau: float | None = None,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Correct only if the ratio is at most ``tau``: ``mean_j g(x~_j) + mean_i rho_i 1{rho_i <= tau} (xi_i - g_i)``.

    Parameters
    ----------
    log_ratio, xi, g, g_policy, reader_response, weight, cluster:
        As in `dr`.
    tau:
        Largest ratio used in the correction; inf is `dr` and 0 is `dm`. None chooses it from the data, by the smallest
        estimated mean squared error (`causalopt.estimators.shrinkage.choose_tau`).

    Returns
    -------
    Estimate
        ``details`` holds ``tau``, ``switched_rows`` and ``switched_mass``, the share of the sum of ratios left out of
        the correction. The interval is centred on the switched estimand: it does not include the bias of switching.

    Raises
    ------
    ConfigError
        When ``tau`` is negative or nan; the others as in `dr`.

    Notes
    -----
    Wang, Agarwal and Dudik (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import switch_dr
    >>> log_ratio = np.log([2.0, 1.0, 0.5, 0.5])
    >>> switch_dr(log_ratio, [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 3.0, 3.0], [1.0, 3.0], tau=1.5).value
    2.375
    """
    rows, residual = _rows(log_ratio, xi, g, weight)
    if tau is None:
        tau = choose_tau(rows, residual, cluster_codes(cluster, rows.n))
    elif not (is_number(tau) and tau >= 0):
        raise ConfigError(f"tau must be zero or more, not {shown(tau)}")
    tau = as_float(tau)
    kept = switched(rows, tau)
    rows.warn_if_thin("switch_dr", cluster)
    details = {
        "tau": tau,
        "switched_rows": int((kept.log_ratio != rows.log_ratio).sum()),
        "switched_mass": lost_mass(rows, kept),
    }
    return _doubly_robust(kept, kept.ratio(), residual, g_policy, reader_response, cluster, "switch_dr", details)


def dr_os(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    lam: float | None = None,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Shrink the ratios of the correction, ``lam * rho / (rho^2 + lam)`` in place of rho (optimistic shrinkage).

    Parameters
    ----------
    log_ratio, xi, g, g_policy, reader_response, weight, cluster:
        As in `dr`.
    lam:
        Shrinkage, in squared ratios; 0 is `dm` and inf is `dr`, exactly. None chooses it from the data, by the smallest
        estimated mean squared error (`causalopt.estimators.shrinkage.choose_lambda`).

    Returns
    -------
    Estimate
        ``details`` holds ``lambda`` and ``shrunk_mass``, the share of the sum of ratios that was removed. The
        interval is centred on the shrunk estimand: it does not include the bias of shrinkage.

    Raises
    ------
    ConfigError
        When ``lam`` is negative or nan; the others as in `dr`.

    Notes
    -----
    Su, Dimakopoulou, Krishnamurthy and Dudik (2020), optimistic shrinkage.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import dr_os
    >>> log_ratio = np.log([2.0, 1.0, 0.5, 0.5])
    >>> round(dr_os(log_ratio, [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 3.0, 3.0], [1.0, 3.0], lam=1.0).value, 3)
    2.325
    """
    rows, residual = _rows(log_ratio, xi, g, weight)
    if lam is None:
        lam = choose_lambda(rows, residual, cluster_codes(cluster, rows.n))
    elif not (is_number(lam) and lam >= 0):
        raise ConfigError(f"lam must be zero or more, not {shown(lam)}")
    lam = as_float(lam)
    kept = shrunk(rows, lam)
    rows.warn_if_thin("dr_os", cluster)
    details = {"lambda": lam, "shrunk_mass": lost_mass(rows, kept)}
    return _doubly_robust(kept, kept.ratio(), residual, g_policy, reader_response, cluster, "dr_os", details)


def _rows(log_ratio: Any, xi: Any, g: Any, weight: Any) -> tuple[WeightedRows, Float64]:
    rows = WeightedRows.of(log_ratio, weight)
    return rows, rows.column("xi", xi) - rows.column("g", g)


def _doubly_robust(
    rows: WeightedRows,
    ratio: Float64,
    residual: Float64,
    g_policy: Any,
    reader_response: Any,
    cluster: Any,
    estimator: str,
    details: Mapping[str, Any] | None = None,
    *,
    self_normalized: bool = False,
) -> Estimate:
    # V = mean_j g(x~_j) + mean_i rho_i (xi_i - g_i). The error of g enters both parts with opposite signs, so that only
    # its product with the error of rho remains (second order).
    plug_in = PlugIn.of(g_policy, rows.exposure)
    correction = ratio_estimate(
        rows,
        ratio,
        residual,
        self_normalized=self_normalized,
        reader_response=reader_response,
        cluster=cluster,
        estimator=estimator,
    )
    return replace(
        plug_in.estimate(correction.cluster) + correction,
        estimator=estimator,
        details={"plug_in": plug_in.value, "correction": correction.value, **(details or {})},
    )
