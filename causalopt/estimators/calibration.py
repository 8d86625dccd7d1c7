"""Scores of a judge, calibrated to outcomes by cross-fitted isotonic regression, and the value that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from causalopt.arrays import as_codes, as_exposure, as_matrix, as_vector, shape_of
from causalopt.data.folds import group_folds
from causalopt.doors import check_seed
from causalopt.errors import DataError, OverlapError
from causalopt.estimators.balance import balance
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.dm import ContextDraws
from causalopt.estimators.estimate import Estimate
from causalopt.typing import Array, Float64, Int64

FOLDS = 5
FEWEST = 10
"""Smallest number of clusters with an outcome on which scores are calibrated."""
MOST_OUTSIDE = 0.1
"""Largest share of a policy's texts whose scores may lie where no outcome was observed."""


@dataclass(frozen=True, eq=False)
class CalibratedScores:
    """The calibration f of a judge's scores: one isotonic regression for each fold, fitted on the rows outside of it.

    Attributes
    ----------
    of_rows:
        f of each row, from the regression of the other folds, shape [n], outcome units.
    fold:
        Codes of the folds, shape [n].
    low, high:
        Range of the scores of the rows that have an outcome. Beyond it f is constant.
    rising:
        For each fold, whether f rises with the score.
    """

    of_rows: Float64
    fold: Int64
    low: float
    high: float
    rising: tuple[bool, ...]
    _regressions: Sequence[IsotonicRegression] = field(repr=False)

    def at(self, score: Any, alpha: Any, fold: Any = None) -> Float64:
        """Calibrate scores of other texts, shape [m], outcome units.

        Parameters
        ----------
        score:
            Shape [m].
        alpha:
            Weights of the rows in the estimate, exposures included, shape [n]. A regression counts as the rows of its
            fold do in their sum, so that a constant added to one regression does not change the estimate.
        fold:
            For a score of a logged text the code of the fold of its rows, whose outcomes must not be used twice; -1 for
            all others. Shape [m]; None if none is logged.

        Raises
        ------
        OverlapError
            If the weights do not sum to a positive number.
        """
        score = as_vector("score", score)
        if not len(score):
            raise DataError("score has no values: at least one score of a text is needed")
        alpha = as_vector("alpha", alpha, len(self.fold))
        if not alpha.sum() > 0:
            raise OverlapError("the sum of the weights is not positive: they are not those of a mean")
        share = np.bincount(self.fold, weights=alpha, minlength=len(self._regressions)) / alpha.sum()
        values = np.stack([one.predict(score) for one in self._regressions])
        found = share @ values
        if fold is not None:
            own = as_vector("fold", fold, len(score)).astype(np.int64)
            if own.max(initial=-1) >= len(self._regressions) or own.min(initial=0) < -1:
                raise DataError(f"fold must hold -1 or a fold's number, of which there are {len(self._regressions)}")
            found = np.where(own >= 0, values[own, np.arange(len(score))], found)
        return np.asarray(found, dtype=np.float64)

    def outside(self, score: Any) -> Array:
        """Whether each score lies beyond those that have an outcome, shape [m]."""
        score = as_vector("score", score)
        return np.asarray((score < self.low) | (score > self.high))


def calibrate_scores(
    score: Any,
    xi: Any,
    *,
    fold: Any = None,
    observed: Any = None,
    weight: Any = None,
    cluster: Any = None,
    seed: int = 0,
) -> CalibratedScores:
    """Map scores of a judge to pseudo-outcomes by isotonic regressions, each row's fitted without its fold.

    Parameters
    ----------
    score:
        The judge's score of each logged text, shape [n], in any unit.
    xi:
        Pseudo-outcome of each row, shape [n], outcome units; ignored where the outcome was not observed.
    fold:
        Labels of folds that divide no cluster, shape [n]; None divides the clusters into five at random.
    observed:
        Whether each row's outcome was observed, shape [n]; None if all were.
    weight:
        Weight of each row in the regressions, shape [n], or None for ones: its exposure, times s / p(observed) if
        ``xi`` does not contain these.
    cluster:
        As in `causalopt.evaluation.ipw`.
    seed:
        Of folds that are made here.

    Raises
    ------
    DataError
        On invalid arrays, or if fewer than ten clusters have an outcome.

    Notes
    -----
    A regression on y would take confounding into f: where readers who respond most are shown certain texts, a judge's
    score predicts *who* read a text. The pseudo-outcome has E[xi | x] = E[Y(x)], so that f estimates the mean dose
    response of texts with a score.

    Whether f rises or falls is decided in each training part, by the sign of the weighted rank correlation of score and
    pseudo-outcome: a judge of harm, or an outcome that is better if smaller, needs no setting. A worthless judge gives
    an almost constant f in either direction.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import calibrate_scores
    >>> rng = np.random.default_rng(0)
    >>> score = rng.normal(size=500)
    >>> found = calibrate_scores(score, 3.0 - np.exp(score) + 0.1 * rng.normal(size=500))
    >>> found.rising[0], found.at([0.0], np.ones(500)).round(1).tolist()
    (False, [2.0])
    """
    check_seed("seed", seed)
    score = as_vector("score", score)
    n = len(score)
    exposure, ways = as_exposure(weight, n), cluster_codes(cluster, n)
    rated = _flags(observed, n)
    target = as_vector("xi", xi, n, where=rated)
    counted = rated & (exposure > 0)
    unit = ways[0] if ways else np.arange(n)
    units = len(np.unique(unit[counted]))
    if units < FEWEST:
        what = "clusters" if ways else "rows"
        raise DataError(
            f"{units} {what} have an outcome: at least {FEWEST} are needed to calibrate the scores of a judge"
        )
    codes = _folds(unit, counted, seed) if fold is None else as_codes("fold", fold, n)
    regressions, rising, of_rows = [], [], np.empty(n)
    for k in range(int(codes.max()) + 1):
        train = counted & (codes != k)
        if len(np.unique(unit[train])) < FEWEST // 2:
            raise DataError(
                f"fold {k} leaves {len(np.unique(unit[train]))} clusters with an outcome to calibrate on: use folds of "
                "equal size"
            )
        up = _rank_correlation(score[train], target[train], exposure[train]) >= 0
        regression = IsotonicRegression(increasing=up, out_of_bounds="clip")
        regression.fit(score[train], target[train], sample_weight=exposure[train])
        of_rows[codes == k] = regression.predict(score[codes == k])
        regressions.append(regression)
        rising.append(bool(up))
    known = score[counted]
    return CalibratedScores(of_rows, codes, float(known.min()), float(known.max()), tuple(rising), regressions)


def calibrated_judge(
    alpha: Any,
    xi: Any,
    score: Any,
    score_policy: Any,
    *,
    fold: Any = None,
    observed: Any = None,
    calibration_weight: Any = None,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
    seed: int = 0,
) -> Estimate:
    """Value from calibrated scores of a judge: ``mean_j f(s~_j) + mean_i alpha_i (xi_i - f(s_i))``.

    The outcomes of a few logged texts say how the judge errs, and correct the mean over texts that only it has read.

    Parameters
    ----------
    alpha:
        Weight of each row under the policy, shape [n]; 0 where the outcome was not observed, with a mean of one over
        all rows. In a randomised experiment in which a share r of the outcomes was observed it is ratio / r there.
    xi:
        Pseudo-outcome of each row, shape [n], outcome units. Where ``alpha`` contains s and 1 / p(observed), as
        balancing weights do, this is y - m + g, the outcome with that of an average reader in place of the row's own.
    score, score_policy:
        The judge's scores of the logged texts, shape [n], and of texts drawn from the policy: [m] independent draws;
        [n, k], k draws in the context of each row; or `causalopt.estimators.dm.ContextDraws`, with scores for ``g``.
    fold, observed, seed:
        As in `calibrate_scores`.
    calibration_weight:
        Weights of the rows in the calibration, shape [n]; None takes ``weight``.
    reader_response, weight, cluster:
        As in `causalopt.evaluation.balance`.

    Returns
    -------
    Estimate
        ``details`` holds ``plug_in``, the mean calibrated score of the policy's texts; ``correction``, how far the
        observed outcomes move it; and ``outside``, the share of the policy's scores beyond those with an outcome.

    Raises
    ------
    DataError
        On invalid arrays, or if fewer than ten clusters have an outcome.
    OverlapError
        If more than a tenth of the policy's scores lie beyond those of the rows that have an outcome, where f is a
        guess and no row corrects it.

    Notes
    -----
    Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic 2023), cross-fitted (Zrnic and
    Candes 2024), with the weights of an off-policy estimate in the correction. The value is unbiased for any f if the
    weights are right, so that a poor judge costs precision and nothing else. The standard error takes the calibration
    as fixed: the correction of each fold is for a regression that never saw it.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import calibrated_judge
    >>> rng = np.random.default_rng(0)
    >>> g, drawn = rng.normal(size=1000), rng.normal(size=20_000)      # dose response; the policy is the logged one
    >>> labelled = rng.random(1000) < 0.2
    >>> y = np.where(labelled, g + 0.3 * rng.normal(size=1000), 0.0)
    >>> found = calibrated_judge(labelled / labelled.mean(), y, np.exp(g), np.exp(drawn), observed=labelled)
    >>> bool(abs(found.value) < 0.1), bool(found.se < 0.5 * y[labelled].std() / labelled.sum() ** 0.5)
    (True, True)
    """
    alpha = as_vector("alpha", alpha)
    n = len(alpha)
    calibrated = calibrate_scores(
        score,
        xi,
        fold=fold,
        observed=observed,
        weight=weight if calibration_weight is None else calibration_weight,
        cluster=cluster,
        seed=seed,
    )
    rated = _flags(observed, n)
    counted = alpha * as_exposure(weight, n)
    if isinstance(score_policy, ContextDraws):
        drawn = score_policy.g
        f_policy: Any = replace(score_policy, g=calibrated.at(drawn, counted))
    else:
        ways = len(shape_of("score_policy", score_policy))
        if ways not in (1, 2):
            raise DataError("score_policy must hold the scores of texts drawn from the policy, not a single number")
        drawn = (as_vector if ways == 1 else as_matrix)("score_policy", score_policy)
        f_policy = calibrated.at(drawn.ravel(), counted).reshape(drawn.shape)
    outside = float(calibrated.outside(drawn.ravel()).mean())
    refuse_outside(outside, "texts that the policy writes", "score_policy")
    residual = as_vector("xi", xi, n, where=rated) - calibrated.of_rows
    found = balance(
        alpha,
        np.where(rated, residual, 0.0),
        f_policy,
        observed=observed,
        reader_response=reader_response,
        weight=weight,
        cluster=cluster,
    )
    details = {name: found.details[name] for name in ("plug_in", "correction")}
    return replace(found, estimator="calibrated_judge", details={**details, "outside": outside})


def refuse_outside(outside: float, what: str, source: str) -> None:
    """Raise `OverlapError` if more than a tenth of a policy's scores lie where no outcome was observed."""
    if outside > MOST_OUTSIDE:
        raise OverlapError(
            f"{source}: {outside:.0%} of the {what} have scores unlike those of the logged texts with an outcome (at "
            f"most {MOST_OUTSIDE:.0%} may): there the calibration is a guess that no outcome corrects; collect "
            "outcomes for such texts, or evaluate a policy nearer to the logged one"
        )


def _flags(observed: Any, n: int) -> Array:
    if observed is None:
        return np.ones(n, dtype=bool)
    flags = as_vector("observed", observed, n)
    if np.any((flags != 0) & (flags != 1)):
        raise DataError("observed must be 0 or 1, or false or true")
    return np.asarray(flags == 1)


def _folds(unit: Int64, counted: Array, seed: int) -> Int64:
    """Five folds of the clusters, in each of which about as many have an outcome."""
    fold = np.empty(len(unit), dtype=np.int64)
    with_outcome = np.isin(unit, unit[counted])
    for part in (with_outcome, ~with_outcome):
        if part.any():
            folds = min(FOLDS, len(np.unique(unit[part])))
            fold[part] = group_folds(unit[part], folds, seed) if folds > 1 else 0
    return fold


def _rank_correlation(score: Float64, target: Float64, weight: Float64) -> float:
    """Weighted correlation of ranks; zero if one of the two is constant."""
    ranks = np.stack([stats.rankdata(score), stats.rankdata(target)])
    centered = ranks - (ranks @ weight / weight.sum())[:, None]
    covariance = (centered * weight) @ centered.T
    size = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(covariance[0, 1] / size) if size > 0 else 0.0
