"""From the terms of a weighted mean to an `Estimate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from causalopt.errors import OverlapError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import WeightedRows
from causalopt.typing import Float64, Int64


def weighted_mean(values: Float64, exposure: Float64) -> float:
    """Mean of ``values`` under exposures of mean one; scaled, so that a sum of large values does not overflow."""
    scale = float(np.abs(values).max(initial=0.0))
    return 0.0 if scale == 0 else float(np.mean(exposure * (values / scale)) * scale)


def ratio_estimate(
    rows: WeightedRows,
    ratio: Float64,
    reward: Float64,
    *,
    self_normalized: bool,
    reader_response: Any,
    cluster: Any,
    estimator: str,
    details: Mapping[str, Any] | None = None,
) -> Estimate:
    """Estimate ``mean_i ratio_i * reward_i`` with the influence of every row and the delete-one value of every cluster.

    Row i has influence ``a_i * (ratio_i * reward_i - c)`` with exposure a_i (mean one) and c the mean; with
    self-normalised ratios (already of mean one) ``a_i * ratio_i * (reward_i - c)``, the linearisation of a ratio of
    means; plus ``a_i * (h_i - mean(h))`` for the readers behind g.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error below
        term = ratio * reward
        center = weighted_mean(term, rows.exposure)
        influence = rows.exposure * (ratio * (reward - center) if self_normalized else term - center)
    if not np.isfinite(influence).all():
        raise OverlapError(
            f"{estimator}: the largest log-ratio is {rows.log_ratio.max():.1f} nats, and ratio times outcome is more "
            "than a float can hold: use a self-normalised estimator (snipw, sndr)"
        )
    codes, share = cluster_codes(cluster, rows.n), rows.exposure * ratio / rows.n
    leverage = share if self_normalized else rows.exposure / rows.n
    found = Estimate(center, influence, codes, deletions=deletions_of_mean(influence, leverage, codes, share))
    if reader_response is not None:
        found = found + mean_over_readers(rows.column("reader_response", reader_response), rows.exposure, codes)
    return replace(found, estimator=estimator, details=details or {})


def mean_over_readers(response: Float64, exposure: Float64, codes: tuple[Int64, ...]) -> Estimate:
    """Error of the mean over readers inside g, whose value g already holds: an estimate of zero."""
    influence = centered(response, exposure)
    return Estimate(0.0, influence, codes, deletions=deletions_of_mean(influence, exposure / len(exposure), codes))


def centered(values: Float64, exposure: Float64) -> Float64:
    """Influence of each row on the exposure-weighted mean of ``values``."""
    return exposure * (values - weighted_mean(values, exposure))
