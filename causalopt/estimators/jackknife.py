"""The delete-one-cluster jackknife (CR3): changes of an estimate without each cluster, and its standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from causalopt.errors import OverlapError
from causalopt.estimators.cluster import cluster_sums, pair_codes
from causalopt.typing import Array, Float64, Int64

NOTHING_LEFT = 1e-9
"""Share of the weight outside of a cluster below which the estimate without that cluster is not defined."""


class Error(NamedTuple):
    """A standard error and the degrees of freedom of Student's t that go with it."""

    se: float
    df: float


@dataclass(frozen=True, eq=False)
class Deletions:
    """Changes of an estimate when one cluster is left out, for each of the G clusters of one clustering.

    An estimate has two parts: a mean weighted by the policy's ratios, and a plain mean over rows (of the readers'
    responses to the policy's texts). They are stored separately only for the degrees of freedom.

    Attributes
    ----------
    weighted, averaged:
        theta_(-g) - theta of each part, shape [G], outcome units.
    share:
        Share of each cluster in the ratios' weights, shape [G]. In a difference of two policies it is signed.
    exposure:
        Share of each cluster in the rows of the plain mean, shape [G].
    inside:
        Whether each cluster has rows in the estimate, shape [G]; None if all have. An estimate of some of the rows has
        the error of these rows alone, and no clusters that only others have.
    """

    weighted: Float64
    averaged: Float64
    share: Float64
    exposure: Float64
    inside: Array | None = None

    @property
    def change(self) -> Float64:
        """theta_(-g) - theta, shape [G], outcome units."""
        return self.weighted + self.averaged

    def times(self, factor: float) -> Deletions:
        """Return the deletions of ``factor`` times the estimate."""
        weighted, averaged, share = (factor * one for one in (self.weighted, self.averaged, self.share))
        return Deletions(weighted, averaged, share, abs(factor) * self.exposure, self.inside)

    def plus(self, other: Deletions) -> Deletions:
        """Add the deletions of another estimate of the same rows, cluster by cluster.

        The weights of two policies add with their signs: in a difference, only what they weight differently remains. A
        plain mean keeps the share of its rows.
        """
        return Deletions(
            self.weighted + other.weighted,
            self.averaged + other.averaged,
            self.share + other.share,
            np.maximum(self.exposure, other.exposure),
            None if self.inside is None or other.inside is None else self.inside | other.inside,
        )

    def scattered(self, position: Int64, size: int) -> Deletions:
        """Return the deletions among ``size`` clusters, of which these are at ``position``, shape [G]."""
        parts = np.zeros((4, size))
        parts[:, position] = self.weighted, self.averaged, self.share, self.exposure
        inside = np.zeros(size, dtype=bool)
        inside[position] = True
        return Deletions(parts[0], parts[1], parts[2], parts[3], inside)

    @property
    def contribution(self) -> Float64:
        """Each cluster's contribution to the error, shape [G], whose squares sum to the variance.

        For the G clusters inside, sqrt((G - 1) / G) times the change minus its mean; zero for the others.
        """
        if self.inside is None:
            change, groups = self.change, len(self.share)
            return np.asarray(np.sqrt((groups - 1) / groups) * (change - change.mean()))
        groups = int(self.inside.sum())
        centered = self.change - self.change[self.inside].mean()
        return np.asarray(np.where(self.inside, np.sqrt((groups - 1) / groups) * centered, 0.0))

    def variance(self, scale: float) -> float:
        """(G - 1) / G times the sum of squares, about their mean, of the changes divided by ``scale``."""
        change = self.change if self.inside is None else self.change[self.inside]
        return float(jackknife_variance(change / scale))

    @property
    def df(self) -> float:
        """Degrees of freedom (sum_g v_g)^2 / sum_g v_g^2, and at most G - 1.

        v_g is the share of cluster g in the variance. For one part it is the square of its share a_g of the weights,
        which gives (sum a_g^2)^2 / sum a_g^4; two parts are added in proportion to the squared changes of each.
        """
        variance = np.zeros(len(self.share))
        inside = slice(None) if self.inside is None else self.inside
        for change, share in ((self.weighted, self.share), (self.averaged, self.exposure)):
            size = float(np.abs(change).max(initial=0.0))
            if size > 0:
                variance[inside] += np.sum((change / self._largest) ** 2) * _squares(share[inside])
        if not variance.any():
            return float("inf")
        # Satterthwaite (1946) for a sum of independent terms of variances v_g, each estimated from one squared value.
        groups = len(variance) if self.inside is None else int(self.inside.sum())
        return float(min(variance.sum() ** 2 / np.sum(variance**2), groups - 1))

    @property
    def _largest(self) -> float:
        return float(max(np.abs(self.weighted).max(), np.abs(self.averaged).max()))


def _squares(share: Float64) -> Float64:
    """Squared shares, scaled to sum to one; equal shares if two policies' weights cancel in every cluster."""
    size = float(np.abs(share).max())
    if size == 0:
        return np.full(len(share), 1 / len(share))
    square = (share / size) ** 2
    return np.asarray(square / square.sum(), dtype=np.float64)


def deletions_of_mean(
    influence: Float64, leverage: Float64, cluster: tuple[Int64, ...] = (), share: Float64 | None = None
) -> tuple[Deletions, ...]:
    """Leave out each cluster of a weighted mean, or of a sum of means with the same weights.

    Parameters
    ----------
    influence:
        Influence of each row, shape [n], outcome units: n * b_i * (value_i - mean) for weights b_i that sum to one.
    leverage:
        The weights b_i, shape [n].
    cluster:
        From `cluster_codes`; rows, if empty.
    share:
        The row's share of the policy's weights, shape [n]; None for a plain mean over rows.

    Returns
    -------
    tuple of Deletions
        One element for rows or one-way clusters; for two-way clusters three: A, B and their cells.

    Raises
    ------
    OverlapError
        If one cluster carries the whole weight.

    Notes
    -----
    The mean without cluster g is (theta - sum_g b_i value_i) / (1 - b_g), so that the change is exactly
    ``-(sum_g influence_i / n) / (1 - b_g)``. Bell and McCaffrey (2002) call it CR3.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.estimators.jackknife import deletions_of_mean, error_of
    >>> values = np.array([1.0, 2.0, 6.0])  # without the first 4.0, the second 3.5, the third 1.5
    >>> deletions = deletions_of_mean(values - 3.0, np.full(3, 1 / 3))
    >>> deletions[0].change.round(6).tolist()
    [1.0, 0.5, -1.5]
    >>> round(error_of(deletions).se, 4)
    1.5275
    """
    found = []
    for codes in _ways(cluster):
        change = left_out(influence, leverage, codes)
        weight = _sums(leverage if share is None else share, codes)
        nothing = np.zeros(len(change))
        parts = (nothing, change, nothing, weight) if share is None else (change, nothing, weight, nothing)
        found.append(Deletions(*parts))
    return tuple(found)


def error_of(deletions: tuple[Deletions, ...]) -> Error:
    """Compute the jackknife's standard error.

    With two-way clusters A and B (Cameron, Gelbach and Miller 2011) the variance is V_A + V_B - V_AB, but never below
    the larger of V_A and V_B, with the smaller degrees of freedom.
    """
    scale = max(float(np.abs(one.change).max(initial=0.0)) for one in deletions)
    if scale == 0:
        return Error(0.0, float("inf"))
    variances = [one.variance(scale) for one in deletions]  # scaled, so that no square overflows
    return Error(scale * float(np.sqrt(_of_ways(variances))), min(one.df for one in deletions[:2]))


def covariance_of(estimates: Sequence[tuple[Deletions, ...]], scale: Float64) -> Float64:
    """Compute the jackknife's covariances of K estimates of the same rows and clusters, shape [K, K].

    Parameters
    ----------
    estimates:
        Deletions of each estimate, in the same clusterings.
    scale:
        Positive number by which each estimate is divided, shape [K].

    Returns
    -------
    Float64
        With two-way clusters V_A + V_B - V_AB, in which a variance is not kept above the larger of V_A and V_B.
    """
    signs = (1.0, 1.0, -1.0)
    found = np.zeros((len(scale), len(scale)))
    for way, of_way in enumerate(zip(*estimates, strict=True)):
        parts = np.stack([one.contribution / by for one, by in zip(of_way, scale, strict=True)])
        found += signs[way] * parts @ parts.T
    return found


def scattered(
    deletions: tuple[Deletions, ...], rows: Int64, part: tuple[Int64, ...], cluster: tuple[Int64, ...]
) -> tuple[Deletions, ...]:
    """Bring the deletions of an estimate of some rows to the clusters of all rows.

    Parameters
    ----------
    deletions:
        Of the estimate of the rows at positions ``rows``.
    rows:
        Positions, shape [k].
    part, cluster:
        Codes of the clusters of these rows, each of shape [k], and of all rows, each of shape [n]; with no clusters,
        ``cluster`` is the positions of all rows.
    """
    found = []
    for one, own, everywhere in zip(deletions, _ways(part or (np.arange(len(rows)),)), _ways(cluster), strict=True):
        assert own is not None
        assert everywhere is not None
        position = np.empty(len(one.share), dtype=np.int64)
        position[own] = everywhere[rows]
        found.append(one.scattered(position, int(everywhere.max()) + 1))
    return tuple(found)


def standard_errors(influence: Float64, leverage: Float64, cluster: tuple[Int64, ...] = ()) -> Float64:
    """Compute the standard errors of k means of equal weights; ``influence`` is [n, k], see `deletions_of_mean`."""
    return np.sqrt(_of_ways([jackknife_variance(left_out(influence, leverage, codes)) for codes in _ways(cluster)]))


def left_out(influence: Float64, leverage: Float64, codes: Int64 | None) -> Float64:
    """Change of a mean when each cluster is left out, shape [G], or [G, k] for k means; see `deletions_of_mean`."""
    rest = 1 - _sums(leverage, codes)
    if (rest < NOTHING_LEFT).any():
        raise OverlapError(
            f"one of {len(rest)} clusters carries the whole weight: without it nothing is left, so there is no "
            "standard error (the estimate rests on fewer clusters than the data have)"
        )
    # theta_(-g) = (theta - sum_{i in g} b_i v_i) / (1 - b_g), so that theta_(-g) - theta is
    # -sum_{i in g} b_i (v_i - theta) / (1 - b_g), and b_i (v_i - theta) is the row's influence over n.
    sums = _sums(influence, codes) / len(influence)
    return np.asarray(-(sums.T / rest).T, dtype=np.float64)


def jackknife_variance(change: Float64) -> Float64:
    """(G - 1) / G times the sum of squares of delete-one values about their mean, over the first dimension."""
    groups = len(change)
    return np.asarray((groups - 1) / groups * np.sum((change - change.mean(axis=0)) ** 2, axis=0), dtype=np.float64)


def _ways(cluster: tuple[Int64, ...]) -> tuple[Int64 | None, ...]:
    if len(cluster) == 2:
        return (*cluster, pair_codes(*cluster))
    return cluster or (None,)


def _of_ways(variances: list[float] | list[Float64]) -> Float64:
    if len(variances) == 1:
        return np.asarray(variances[0], dtype=np.float64)
    # V_A + V_B - V_AB (Cameron, Gelbach and Miller 2011) may be negative in small samples.
    first, second, both = variances
    return np.maximum(first + second - both, np.maximum(first, second))


def _sums(values: Float64, codes: Int64 | None) -> Float64:
    return values if codes is None else cluster_sums(values, codes)
