"""Importance weights, kept in log space as long as possible, and weighted means."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalopt.arrays import as_exposure, as_log_ratio, as_vector
from causalopt.errors import DataError, OverlapError, OverlapWarning
from causalopt.estimators.cluster import cluster_codes, cluster_sums
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.typing import Float64, Int64

THIN_SAMPLE_SIZE = 10.0
"""Below this effective number of clusters (or below half of them, if there are few) an estimator warns."""

LARGEST_LOG = float(np.log(np.finfo(np.float64).max))


@dataclass(frozen=True, eq=False)
class WeightedRows:
    """The logged rows under a policy: log-ratio and exposure of each.

    Attributes
    ----------
    log_ratio:
        log P^f(x_i|c_i) - log q(x_i|c_i), shape [n], nats; -inf if the policy never writes the text.
    exposure:
        Shape [n], mean one.

    Examples
    --------
    >>> from causalopt.estimators.weights import WeightedRows
    >>> rows = WeightedRows.of([700.0, 700.0, -700.0, 699.0, -2.0])
    >>> rows.normalized_ratio().round(3).tolist()
    [2.112, 2.112, 0.0, 0.777, 0.0]
    >>> round(rows.effective_size(), 3)
    2.626
    """

    log_ratio: Float64
    exposure: Float64

    @classmethod
    def of(cls, log_ratio: Any, weight: Any = None) -> WeightedRows:
        """Validate; fewer than two rows raise `DataError`, and no row with a positive ratio raises `OverlapError`."""
        log_ratio = as_log_ratio("log_ratio", log_ratio)
        n = len(log_ratio)
        if n < 2:
            raise DataError(f"log_ratio has {n} rows: an estimate needs at least two")
        exposure = as_exposure(weight, n)
        largest = log_ratio[exposure > 0].max()
        if largest == -np.inf:
            raise OverlapError(f"no overlap: the policy gives probability zero to all {n} logged texts that count")
        return cls(np.minimum(log_ratio, largest), exposure)  # a row without exposure must not set the scale

    @property
    def n(self) -> int:
        return len(self.log_ratio)

    @property
    def log_weight(self) -> Float64:
        """Log of exposure times ratio, shape [n]."""
        with np.errstate(divide="ignore"):
            return self.log_ratio + np.log(self.exposure)

    def column(self, name: str, values: Any) -> Float64:
        """Validate one more array of the same rows."""
        return as_vector(name, values, self.n)

    def ratio(self) -> Float64:
        """Return the ratios, shape [n]; one that no float holds raises `OverlapError` with its log."""
        return ratios(self.log_ratio)

    def normalized_ratio(self) -> Float64:
        """Ratios divided by their exposure-weighted mean, shape [n] (Hajek weights); see `refuse_single_row`."""
        self.refuse_single_row()
        # A constant cancels in rho / mean(rho), so the largest log-ratio is subtracted before exponentiating.
        ratio = np.exp(self.log_ratio - self.log_ratio.max())
        return np.asarray(ratio / np.mean(self.exposure * ratio), dtype=np.float64)

    def refuse_single_row(self) -> None:
        """Raise `OverlapError` if a single row carries the whole weight.

        The estimate would be that row's outcome with a standard error of zero.
        """
        if self.effective_size() < 1 + 1e-9:
            raise OverlapError(
                f"one of {self.n} logged texts carries the whole weight (effective sample size 1.0): "
                "its outcome is not an estimate; the policy is too far from the logged texts"
            )

    def cluster_log_weight(self, codes: Int64 | None = None) -> Float64:
        """Log of the sum of exposure times ratio in each cluster, shape [G]; of each row, if there are no codes."""
        if codes is None:
            return self.log_weight
        top = self.log_weight.max()
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(cluster_sums(np.exp(self.log_weight - top), codes)) + top, dtype=np.float64)

    def effective_size(self, codes: Int64 | None = None) -> float:
        """Compute Kish's effective number of clusters (of rows, without codes): (sum_g a_g)^2 / sum_g a_g^2.

        a_g is the sum of exposure times ratio in cluster g.
        """
        log_weight = self.cluster_log_weight(codes)
        weight = np.exp(log_weight - log_weight.max())  # Kish's number does not change with the scale of the weights
        return float(weight.sum() ** 2 / np.sum(weight**2))

    def warn_if_thin(self, estimator: str, cluster: Any = None) -> None:
        """Warn with the effective number of clusters (in each clustering) if it is too small."""
        for codes in cluster_codes(cluster, self.n) or (None,):
            size, units = self.effective_size(codes), self.n if codes is None else int(codes.max()) + 1
            if size < min(THIN_SAMPLE_SIZE, units / 2):
                what = f"{units} logged texts" if codes is None else f"{units} clusters of {self.n} logged texts"
                warnings.warn(
                    f"{estimator}: {what} count as {size:.1f} for this policy; do not trust its interval",
                    OverlapWarning,
                    stacklevel=3,
                )
                return


def ratios(log_ratio: Float64) -> Float64:
    """Return the ratios, shape [n]; one that no float holds raises `OverlapError` with its log."""
    largest = float(log_ratio.max(initial=-np.inf))
    if largest > LARGEST_LOG:
        raise OverlapError(
            f"the largest log-ratio is {largest:.6g} nats, more than a float can hold as a ratio: "
            "use a self-normalised estimator (snipw, sndr)"
        )
    return np.exp(log_ratio)


def weighted_mean(values: Float64, exposure: Float64) -> float:
    """Mean of ``values`` under exposures of mean one; scaled so that a sum of large values does not overflow."""
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
    with np.errstate(over="ignore", invalid="ignore"):  # values that are not finite raise an error below
        term = ratio * reward
        # The influence function of a mean of rho * r is rho * r - c; that of a ratio of means, sum rho r / sum rho, is
        # rho * (r - c) by the delta method: the error of the denominator subtracts rho * c in each row.
        center = weighted_mean(term, rows.exposure)
        influence = rows.exposure * (ratio * (reward - center) if self_normalized else term - center)
    if not np.isfinite(influence).all():
        raise OverlapError(
            f"{estimator}: the largest log-ratio is {rows.log_ratio.max():.6g} nats, and ratio times outcome is more "
            "than a float can hold: use a self-normalised estimator (snipw, sndr)"
        )
    codes, share = cluster_codes(cluster, rows.n), rows.exposure * ratio / rows.n
    # Without a cluster the denominator loses the cluster's ratios if these are normalised, else its exposures.
    leverage = share if self_normalized else rows.exposure / rows.n
    found = Estimate(center, influence, codes, deletions=deletions_of_mean(influence, leverage, codes, share))
    if reader_response is not None:
        # g_i = mean_k m(x_i, w_k) is a mean over the sample of readers: their sampling adds to the value's variance.
        found = found + mean_over_readers(rows.column("reader_response", reader_response), rows.exposure, codes)
    return replace(found, estimator=estimator, details=details or {})


def mean_over_readers(response: Float64, exposure: Float64, codes: tuple[Int64, ...]) -> Estimate:
    """Return the error of the mean over readers inside g as an estimate of zero, since g contains its value."""
    influence = centered(response, exposure)
    return Estimate(0.0, influence, codes, deletions=deletions_of_mean(influence, exposure / len(exposure), codes))


def centered(values: Float64, exposure: Float64) -> Float64:
    """Influence of each row on the exposure-weighted mean of ``values``."""
    return exposure * (values - weighted_mean(values, exposure))
