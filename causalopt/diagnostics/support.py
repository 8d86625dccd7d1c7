"""Overlap of a policy with the logged texts themselves, and not with its own reference policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min

from causalopt.density_ratio import TwoSamples, best_log_odds, candidates
from causalopt.diagnostics.behavior_fit import two_samples
from causalopt.estimators.cluster import cluster_sums
from causalopt.typing import Array, Float64

LEVEL = 0.01
"""Share of texts from the logged distribution itself that are classed as outside of its support: half by each rule."""
MOST_TEXTS = 20_000
"""Largest number of texts among which the nearest is looked for."""
SMALLEST_SPREAD = 1e-4
"""Smallest principal direction kept, in units of the largest: smaller ones are rounding error, never scaled up."""


@dataclass(frozen=True)
class Support:
    """Overlap of a policy with the logged texts in embedding space.

    Attributes
    ----------
    clusters:
        Number of units of the logged texts.
    effective_clusters:
        Kish's effective number of units under the ratio of the policy's distribution to the logged one, times the mean
        ratio if that is below one.
    mean_ratio:
        Exposure-weighted mean of that ratio: 1 if the logged texts cover the policy's texts, near 0 if the policy
        writes other texts, which the ratios of logged texts cannot show.
    outside:
        Share of the policy's draws that lie outside of the logged texts' support.
    draws:
        Number of the policy's draws.
    """

    clusters: int
    effective_clusters: float
    mean_ratio: float
    outside: float
    draws: int

    @property
    def sentence(self) -> str:
        """Describe the overlap in words."""
        return (
            f"Against the logged texts themselves, {self.clusters} logged units count as "
            f"{self.effective_clusters:.0f} for this policy, and {self.outside:.0%} of {self.draws} texts that it "
            f"wrote lie outside of what was logged ({LEVEL:.0%} would by chance)."
        )


def support(
    x_logged: Any, x_policy: Any, *, weight: Any = None, cluster: Any = None, row: Any = None, seed: int = 0
) -> Support:
    """Measure the overlap of a policy with the logged texts from embeddings alone.

    Ratios of sequence probabilities compare a policy with its reference: if a model that writes gibberish is tuned a
    little, it keeps its full effective sample size. Here the policy's draws are compared with the logged texts.

    Parameters
    ----------
    x_logged:
        Embeddings of the logged texts, with those of their prompts appended if there are prompts, shape [n, d].
    x_policy:
        Embeddings of texts drawn from the policy, for prompts drawn from the logged ones, shape [m, d].
    weight:
        Exposure of the logged rows, shape [n], or None for ones.
    cluster:
        Labels [n] of the unit that was drawn (text, prompt, reader); None uses rows of equal embedding.
    row:
        Position of the logged row whose prompt each draw answers, shape [m], or None for independent draws.
    seed:
        Seed of the folds.

    Raises
    ------
    DataError
        On invalid arrays, or logged texts of a single cluster.

    Notes
    -----
    The ratio is that of `marginal_log_ratio`. Its Kish number cannot detect mass that no logged text shares: if a
    classifier separates all texts, the ratios of the logged ones are equally small. Since E[ratio] = 1 under the logged
    distribution, the mean ratio is the share of the policy's mass that is covered, and Kish's number is multiplied by
    it.

    A draw is outside by one of two rules, and never if it equals a logged text:

    * its distance to the nearest logged text of the other folds, in whitened principal coordinates fitted on these
      texts, is beyond the 99.5% quantile of the same distances of the logged texts. The distance from the subspace of
      the principal directions is one more coordinate, in units of the smallest direction kept;
    * its ratio, from a classifier fitted without its fold, is beyond the 99.5% quantile of the logged texts' ratios:
      there are hardly any logged texts of its kind. In many dimensions the nearest neighbour alone misses such draws,
      since all texts are far from each other, and a text at the centre is nearer to them than they are to each other.

    Both statistics treat a draw like a held-out logged text, so that about 1% of draws from the logged distribution
    are outside, whatever that distribution (conformal prediction: Vovk, Gammerman and Shafer 2005; with n < 200 logged
    units about two in n). The embedding must be fitted on both samples together, or on neither.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.support import support
    >>> rng = np.random.default_rng(0)
    >>> logged = rng.normal(size=(500, 2))
    >>> support(logged, rng.normal(size=(500, 2))).outside < 0.05
    True
    >>> support(logged, rng.normal(9.0, 1.0, size=(500, 2))).outside
    1.0
    """
    sample, unit = two_samples(x_logged, x_policy, weight, cluster, row, 5, seed)
    logged = sample.label == 0
    exposure = sample.weight[logged]
    log_ratio = best_log_odds(candidates(sample.x), sample)
    outside = _outside(sample, log_ratio)
    mass = exposure * np.exp(log_ratio[logged] - log_ratio[logged].max())
    sums = cluster_sums(mass, np.unique(unit[logged], return_inverse=True)[1].astype(np.int64))
    mean_ratio = float(mass.mean() * np.exp(log_ratio[logged].max()))
    return Support(
        clusters=len(sums),
        effective_clusters=float(sums.sum() ** 2 / np.sum(sums**2)) * min(mean_ratio, 1.0),
        mean_ratio=mean_ratio,
        outside=float(outside.mean()),
        draws=len(outside),
    )


def outside_draws(
    x_logged: Any, x_drawn: Any, *, weight: Any = None, cluster: Any = None, row: Any = None, seed: int = 0
) -> Array:
    """Whether each draw lies outside of the logged texts' support, by the rules of `support`, shape [m].

    Parameters
    ----------
    x_logged, x_drawn, weight, cluster, row, seed:
        As in `support`, with the same errors.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.support import outside_draws
    >>> rng = np.random.default_rng(0)
    >>> logged = rng.normal(size=(500, 2))
    >>> outside_draws(logged, np.concatenate([logged[:2], [[9.0, 9.0], [8.0, 9.0]]])).tolist()
    [False, False, True, True]
    """
    sample, _ = two_samples(x_logged, x_drawn, weight, cluster, row, 5, seed)
    return _outside(sample, best_log_odds(candidates(sample.x), sample))


def _outside(sample: TwoSamples, log_ratio: Float64) -> Array:
    logged = sample.label == 0
    outside = np.zeros(int((~logged).sum()), dtype=bool)
    for statistic in (_distance_to_other_folds(sample), log_ratio):
        limit = _upper_quantile(statistic[logged], sample.weight[logged], 1 - LEVEL / 2)
        outside |= statistic[~logged] > limit
    return np.asarray(outside & ~np.isin(sample.text[~logged], sample.text[logged & (sample.weight > 0)]))


def _distance_to_other_folds(sample: TwoSamples) -> Float64:
    """Distance of each text to the nearest logged one of another fold, in whitened coordinates, shape [n + m].

    Of more than `MOST_TEXTS` distinct logged texts, a random sample serves as neighbours; distances of the logged and
    of the drawn texts are to the same ones, and so remain comparable.
    """
    texts = sample.distinct
    x = np.asarray(texts.x, dtype=np.float64)
    counted = np.bincount(texts.of_row, weights=sample.weight > 0).astype(np.float64)  # rows of each that count
    distance = np.empty(len(x))
    for fold in np.unique(texts.fold):
        held = texts.fold == fold
        known = np.flatnonzero(~held & (texts.label == 0) & (counted > 0))
        if len(known) > MOST_TEXTS:
            known = np.sort(np.random.default_rng(int(fold)).choice(known, MOST_TEXTS, replace=False))
        coordinates = _whitening(x[known], counted[known])
        distance[held] = pairwise_distances_argmin_min(coordinates(x[held]), coordinates(x[known]))[1]
    # Texts that differ by rounding are equal: a distance of 1e-6 standard deviations counts as zero.
    return np.where(distance < 1e-6, 0.0, distance)[texts.of_row]


def _whitening(x: Float64, count: Float64) -> Callable[[Array], Float64]:
    """Coordinates of rows ``x`` [k, d], each of which occurs ``count`` times."""
    mean = count @ x / count.sum()
    _, spread, axes = np.linalg.svd((x - mean) * np.sqrt(count)[:, None], full_matrices=False)
    spread = spread / np.sqrt(count.sum())
    kept = spread > SMALLEST_SPREAD * max(float(spread.max(initial=0.0)), float(np.finfo(np.float64).tiny))
    axes, spread = axes[kept], spread[kept]
    unit = float(spread.min()) if kept.any() else float(np.abs(mean).max(initial=0.0)) or 1.0

    def coordinates(values: Array) -> Float64:
        centered = values - mean
        along = centered @ axes.T
        off = np.linalg.norm(centered - along @ axes, axis=1)
        return np.column_stack([along / spread, off / unit])

    return coordinates


def _upper_quantile(values: Float64, weight: Float64, level: float) -> float:
    """Smallest value with at least a share ``level`` of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][min(int(np.searchsorted(share, level - 1e-12)), len(values) - 1)])
