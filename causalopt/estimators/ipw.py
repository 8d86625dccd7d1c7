"""Importance-weighted means of the pseudo-outcome."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalopt.doors import check_number
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.weights import WeightedRows, ratio_estimate


def ipw(log_ratio: Any, xi: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Weight by importance ratios (inverse-probability weighting): ``mean_i rho_i * xi_i``.

    Parameters
    ----------
    log_ratio:
        log P^f(x_i|c_i) - log q(x_i|c_i), shape [n], nats; -inf is a ratio of zero.
    xi:
        Pseudo-outcome of each row (the outcome itself in a randomised experiment), shape [n], outcome units.
    reader_response:
        Shape [n] or None: h_i, the outcome model of reader i averaged over the policy's texts. The g inside xi is a
        mean over the same readers, and row i's influence on it is ``h_i - mean(h)``. Leave it out if w is empty.
    weight:
        Exposure of each row, shape [n], or None for ones: every mean is a weighted mean.
    cluster:
        None, labels [n], or a tuple of two arrays of labels (two-way).

    Returns
    -------
    Estimate
        Unbiased if q is known, with a variance that grows as the mean squared ratio.

    Raises
    ------
    DataError
        On arrays that are not finite or of different lengths.
    OverlapError
        If no logged text has a positive ratio, or a ratio is more than a float can hold (its log is in the message).

    Warns
    -----
    OverlapWarning
        If the effective number of clusters (of rows, without clusters) is below 10, with that number.

    Notes
    -----
    Horvitz and Thompson (1952).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import ipw
    >>> ipw(np.log([2.0, 1.0, 0.5, 0.5]), [1.0, 2.0, 3.0, 4.0]).value
    1.875
    """
    rows = WeightedRows.of(log_ratio, weight)
    xi, ratio = rows.column("xi", xi), rows.ratio()
    rows.warn_if_thin("ipw", cluster)
    return ratio_estimate(
        rows,
        ratio,
        xi,
        self_normalized=False,
        reader_response=reader_response,
        cluster=cluster,
        estimator="ipw",
    )


def snipw(log_ratio: Any, xi: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Weight by importance ratios divided by their mean: ``sum_i rho_i * xi_i / sum_i rho_i``.

    The value is bounded by the outcomes, unchanged if the log-ratios shift by a constant (so q may be unnormalised),
    and safe for log-ratios of any size. Its bias falls as 1/n. Parameters, errors and warnings as in `ipw`; in
    addition, a single row that carries the whole weight raises `OverlapError`, since its error cannot be estimated.

    Notes
    -----
    Hajek (1971); in off-policy evaluation Swaminathan and Joachims (2015).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import snipw
    >>> round(snipw(np.log([2.0, 1.0, 0.5, 0.5]) + 700.0, [1.0, 2.0, 3.0, 4.0]).value, 6)
    1.875
    """
    rows = WeightedRows.of(log_ratio, weight)
    xi, ratio = rows.column("xi", xi), rows.normalized_ratio()
    rows.warn_if_thin("snipw", cluster)
    return ratio_estimate(
        rows,
        ratio,
        xi,
        self_normalized=True,
        reader_response=reader_response,
        cluster=cluster,
        estimator="snipw",
    )


def clipped_ipw(
    log_ratio: Any,
    xi: Any,
    *,
    clip: float | None = None,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Weight by importance ratios cut at ``clip``: ``mean_i min(rho_i, clip) * xi_i``.

    Parameters
    ----------
    log_ratio, xi, reader_response, weight, cluster:
        As in `ipw`.
    clip:
        Largest ratio allowed; None takes sqrt(n) times the mean ratio, whose bias vanishes with n (Ionides 2008).

    Returns
    -------
    Estimate
        ``details`` holds ``clip``, ``clipped_rows`` and ``clipped_mass``, the share of the sum of ratios that was cut
        off. That share is the possible bias, in units of the outcome of the texts that were cut.

    Raises
    ------
    ConfigError
        When ``clip`` is not positive; the others as in `ipw`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import clipped_ipw
    >>> estimate = clipped_ipw(np.log([2.0, 1.0, 1.0, 1.0]), [1.0, 2.0, 3.0, 4.0], clip=1.5)
    >>> estimate.value, round(estimate.details["clipped_mass"], 6)
    (2.625, 0.1)
    """
    rows = WeightedRows.of(log_ratio, weight)
    xi = rows.column("xi", xi)
    if clip is not None:
        check_number("clip", clip, above=0)
    log_clip = np.log(float(clip)) if clip is not None else ionides_log_clip(rows)
    rows.warn_if_thin("clipped_ipw", cluster)
    # The mean of min(rho, clip) * xi is exact for a clipped estimand, and the interval is centred on that estimand.
    clipped = WeightedRows(np.minimum(rows.log_ratio, log_clip), rows.exposure)
    return ratio_estimate(
        clipped,
        clipped.ratio(),
        xi,
        self_normalized=False,
        reader_response=reader_response,
        cluster=cluster,
        estimator="clipped_ipw",
        details={
            "clip": float(np.exp(log_clip)),
            "clipped_rows": int((rows.log_ratio > log_clip).sum()),
            "clipped_mass": clipped_mass(rows, log_clip),
        },
    )


def ionides_log_clip(rows: WeightedRows) -> float:
    """Log of sqrt(n) times the mean ratio (Ionides 2008)."""
    # log(sqrt(n) * sum_i a_i rho_i / n): bias and standard deviation of the clipped mean then both vanish with n.
    return float(np.logaddexp.reduce(rows.log_weight) - np.log(rows.n) / 2)


def clipped_mass(rows: WeightedRows, log_clip: float) -> float:
    """Share of the exposure-weighted sum of ratios that lies above ``log_clip``, between 0 and 1."""
    kept = WeightedRows(np.minimum(rows.log_ratio, log_clip), rows.exposure)
    log_share = np.logaddexp.reduce(kept.log_weight) - np.logaddexp.reduce(rows.log_weight)
    return float(max(0.0, -np.expm1(log_share)))
