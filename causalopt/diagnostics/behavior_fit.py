"""Tests whether the model used as the behavior policy q writes texts like the logged ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from lightgbm import LGBMClassifier
from scipy.stats import t

from causalopt.arrays import as_codes, as_embeddings
from causalopt.data.folds import row_codes
from causalopt.density_ratio import TwoSamples, candidates, held_out_log_odds
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_sums
from causalopt.typing import Float64, Int64

GOOD, BAD = 0.53, 0.7
"""Areas under the curve up to which a fit is good, and from which it is bad.

For two normal distributions of equal variance, d standard deviations apart, the area is Phi(d / sqrt 2), and the ratio
of their densities has variance exp(d^2) - 1 (the chi-squared divergence). If one is used in place of the other, the
bias of a value is at most the square root of that, in standard deviations between texts of the outcome model's
residual, and the ratio keeps exp(-d^2) of the logs' effective sample size. At an area of 0.53 these are a bias of 0.11
standard deviations and 99%; at 0.7 a bias of 0.86, nearly the variation between texts, and 58%. Distributions that
differ only in spread have a larger bias than their area suggests: with equal means, and 0.8 or 1.2 times the width,
areas are 0.57 and 0.56 and biases 0.27 and 0.34.
"""

CHANCE = 0.5
REUSE = 2.0
"""Factor by which the variance of an area at chance grows because the folds are used to score each other.

Let delta_k be the difference of the two samples in fold k. The classifier of fold k is approximately the sum of the
other folds' differences, so that the area is approximately sum_k delta_k . sum_{l != k} delta_l: each product of two
folds occurs twice, which doubles the variance that independent folds would have. If the samples do differ, the factor
is closer to one, and the interval is conservative.
"""

Judgement = Literal["good", "questionable", "bad", "unclear"]

_TREES = LGBMClassifier(
    n_estimators=60,
    learning_rate=0.1,
    num_leaves=6,
    min_child_samples=20,
    reg_lambda=1.0,
    max_bin=63,
    n_jobs=1,
    deterministic=True,
    force_row_wise=True,
    random_state=0,
    verbose=-1,
)


@dataclass(frozen=True)
class BehaviorFit:
    """How well a classifier separates a model's texts from logged ones that it was not fitted on.

    Attributes
    ----------
    auc:
        Area under the curve: the probability that the classifier gives a drawn text a higher score than a logged one.
        0.5 if it cannot separate them; below 0.5 only by chance.
    auc_low, auc_high:
        Confidence interval of the area, clustered by the drawn unit.
    level:
        Level of the interval.
    clusters:
        Number of units of the logged texts.
    """

    auc: float
    auc_low: float
    auc_high: float
    level: float
    clusters: int

    @property
    def judgement(self) -> Judgement:
        """Judgement from the area on the scale of `GOOD` and `BAD`; unclear if the interval is too wide.

        It is unclear if the area is good but the interval reaches `BAD`, or if the area is not good but the interval
        reaches chance.
        """
        if self.auc < GOOD:
            return "unclear" if self.auc_high >= BAD else "good"
        if self.auc_low <= CHANCE:
            return "unclear"
        return "bad" if self.auc >= BAD and self.auc_low >= GOOD else "questionable"

    @property
    def bars_finding(self) -> bool:
        """Whether ratios to this q permit no conclusion."""
        return self.judgement == "bad"

    @property
    def sentence(self) -> str:
        """The fit in words."""
        area = f"{self.auc:.2f} ({self.auc_low:.2f} to {self.auc_high:.2f})"
        meaning = {
            "good": "they are alike.",
            "questionable": "they differ, and ratios to it carry an error that no interval includes.",
            "bad": "they are not alike, and every ratio to it is wrong.",
            "unclear": f"{self.clusters} logged units are too few to say whether they are alike.",
        }[self.judgement]
        return (
            "The reference policy stands for the writer of the logged texts: a classifier tells its texts from these "
            f"with an area under the curve of {area}: {meaning}"
        )


def behavior_fit(
    x_logged: Any,
    x_reference: Any,
    *,
    weight: Any = None,
    cluster: Any = None,
    row: Any = None,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> BehaviorFit:
    """Measure the fit of a model to the logs by how well a classifier separates its texts from logged ones.

    Ratios to a model are near one for every policy close to it, whatever policy wrote the logs: they cannot show that
    the model is wrong. The model's own texts can. A classifier of drawn against logged texts is at chance only if the
    two distributions are equal (Friedman 2003, "On multivariate goodness-of-fit and two-sample testing"; Lopez-Paz and
    Oquab 2017). Each text is scored by a classifier fitted without its fold. Among logistic regressions in the
    coordinates and their squares, and boosted trees, it is the one with the smallest held-out loss on the *other*
    folds, so that the choice does not inflate the area. Texts are compared within a fold, since classifiers of
    different folds differ in their intercept.

    The embedding must treat both samples alike: fitted on both together, or on neither. With TF-IDF fitted on the
    logged texts alone, draws from the same distribution had an area of 0.61.

    Parameters
    ----------
    x_logged:
        Embeddings of logged texts on which the model was **not** tuned, with those of their prompts appended if there
        are prompts, shape [n, d].
    x_reference:
        Embeddings of texts drawn from the model for the same prompts, shape [m, d].
    weight:
        Exposure of the logged rows, shape [n], or None for ones.
    cluster:
        Labels [n] of the unit that was drawn (text, prompt, reader); None uses rows of equal embedding.
    row:
        Position of the logged row whose prompt each draw answers, shape [m]: the draw shares its fold and cluster. None
        for independent draws.
    folds:
        Folds of the cross-fitting; fewer if there are fewer clusters.
    seed:
        Seed of the folds.
    level:
        Level of the interval.

    Returns
    -------
    BehaviorFit
        With ``judgement``, ``bars_finding`` and ``sentence``.

    Raises
    ------
    DataError
        On invalid arrays, or logged texts of a single cluster.

    Notes
    -----
    The area is a two-sample U-statistic; its standard error is from its projections (DeLong, DeLong and Clarke-Pearson
    1988) summed by cluster (Obuchowski 1997), widened because the folds score each other (`REUSE`). The interval is
    Wilson's for a proportion, with the number of trials that gives this variance, but at most three times the smaller
    number of clusters, so that an area of one has an interval too.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.behavior_fit import behavior_fit
    >>> rng = np.random.default_rng(0)
    >>> logged = rng.normal(size=(800, 2))
    >>> behavior_fit(logged, rng.normal(size=(800, 2))).judgement
    'good'
    >>> behavior_fit(logged, rng.normal(1.5, 1.0, size=(800, 2))).bars_finding
    True
    """
    if not 0 < level < 1:
        raise DataError(f"level must lie between 0 and 1, not {level}")
    return separation(*two_samples(x_logged, x_reference, weight, cluster, row, folds, seed), level)


def separation(sample: TwoSamples, unit: Int64, level: float) -> BehaviorFit:
    """Area under the curve of the best classifier of two samples, with its interval, clustered by ``unit``, [n + m]."""
    score = _chosen_by_other_folds([*candidates(sample.x), _TREES], sample)
    area, influence = _area_within_folds(score, sample)
    logged, drawn = (len(np.unique(unit[sample.label == label])) for label in (0, 1))
    total = len(np.unique(unit))
    variance = REUSE * total / (total - 1) * float(np.sum(cluster_sums(influence, unit) ** 2))
    low, high = _wilson(area, variance, 3.0 * min(logged, drawn), float(t.ppf(0.5 + level / 2, logged - 1)))
    return BehaviorFit(area, low, high, level, logged)


def two_samples(
    x_logged: Any, x_drawn: Any, weight: Any, cluster: Any, row: Any, folds: int, seed: int
) -> tuple[TwoSamples, Int64]:
    """Assign both samples to folds, and return the code of each text's unit, shape [n + m].

    A draw belongs to the unit of its row; an independent draw is a unit of its own.
    """
    n = len(as_embeddings("x_logged", x_logged))
    unit = None if cluster is None else as_codes("cluster", cluster, n)
    groups = (
        int(row_codes(as_embeddings("x_logged", x_logged)).max()) + 1 if unit is None else int(unit.max(initial=-1)) + 1
    )
    if groups < 2:
        raise DataError(f"the {n} logged texts are of {groups} cluster: at least two are needed to fit a classifier")
    sample = TwoSamples.of(x_logged, x_drawn, weight=weight, group=unit, folds=min(folds, groups), seed=seed)
    logged = sample.text[:n] if unit is None else unit
    if row is None:
        if len(np.unique(sample.fold[n:])) < 2:
            # One text, or texts with equal embeddings: the classifier of the other folds would see none of them.
            row_of_draw = np.random.default_rng(seed).integers(n, size=len(sample.x) - n)
            sample = sample.with_draws_of_rows(row_of_draw)
        drawn = logged.max() + 1 + np.arange(len(sample.x) - n)
    else:
        rows = np.asarray(row)
        if rows.shape != (len(sample.x) - n,) or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n:
            raise DataError(f"row must hold the position, 0 to {n - 1}, of a logged row for each of the draws")
        sample = sample.with_draws_of_rows(rows)
        drawn = logged[rows]
    return sample, np.unique(np.concatenate([logged, drawn]), return_inverse=True)[1].astype(np.int64)


def _chosen_by_other_folds(models: Sequence[Any], sample: TwoSamples) -> Float64:
    """Held-out log-odds; each fold uses the candidate with the smallest loss on the other folds, shape [n + m]."""
    scores = np.stack([held_out_log_odds(model, sample) for model in models])
    loss = sample.weight * np.logaddexp(0.0, np.where(sample.label == 1, -scores, scores))
    chosen = np.empty(len(sample.x))
    for fold in np.unique(sample.fold):
        held = sample.fold == fold
        chosen[held] = scores[int(loss[:, ~held].sum(axis=1).argmin()), held]
    return chosen


def _area_within_folds(score: Float64, sample: TwoSamples) -> tuple[float, Float64]:
    """Area under the curve for pairs within a fold, and each text's part in its error, shape [n + m], sum zero."""
    area, influence, total = 0.0, np.zeros(len(score)), 0.0
    for fold in np.unique(sample.fold):
        logged = np.flatnonzero((sample.fold == fold) & (sample.label == 0))
        drawn = np.flatnonzero((sample.fold == fold) & (sample.label == 1))
        a, b = sample.weight[logged], sample.weight[drawn]
        if not a.sum() > 0 or not b.sum() > 0:
            continue
        above = _share_below(score[drawn], score[logged], a)  # for each drawn text: the logged ones that it outscores
        below = 1 - _share_below(score[logged], score[drawn], b)
        here = float(b @ above / b.sum())
        pairs = float(np.sqrt(a.sum() * b.sum()))
        area, total = area + pairs * here, total + pairs
        influence[drawn] = pairs * b / b.sum() * (above - here)
        influence[logged] = pairs * a / a.sum() * (below - here)
    if total == 0:
        raise DataError("no fold holds both logged texts with weight and drawn ones")
    return area / total, influence / total


def _share_below(values: Float64, others: Float64, weight: Float64) -> Float64:
    """Weighted share of ``others`` below each value, a tie counting half, shape of ``values``."""
    order = np.argsort(others, kind="stable")
    cumulative = np.concatenate([[0.0], np.cumsum(weight[order])])
    left = np.searchsorted(others[order], values, side="left")
    right = np.searchsorted(others[order], values, side="right")
    return np.asarray(0.5 * (cumulative[left] + cumulative[right]) / cumulative[-1], dtype=np.float64)


def _wilson(share: float, variance: float, most: float, quantile: float) -> tuple[float, float]:
    spread = share * (1 - share)
    # An area of one has no variance, except for rounding.
    trials = most if spread < 1e-12 or variance * most <= spread else spread / variance
    center = (share + quantile**2 / (2 * trials)) / (1 + quantile**2 / trials)
    half = quantile / (1 + quantile**2 / trials) * np.sqrt(spread / trials + quantile**2 / (4 * trials**2))
    return float(max(center - half, 0.0)), float(min(center + half, 1.0))
