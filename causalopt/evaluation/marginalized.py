"""Importance weights in embedding space, for logs whose sequence probabilities are unknown or too far apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from causalopt.errors import DataError, OverlapWarning
from causalopt.evaluation.dr import sndr
from causalopt.evaluation.estimate import Estimate
from causalopt.evaluation.ipw import snipw
from causalopt.evaluation.validation import as_codes, as_exposure, as_matrix
from causalopt.typing import Array, Float64, Int64

SEPARATED = 0.95
"""Area under the curve from which the policy's texts are called apart from the logged ones.

Two normal laws that far apart leave an effective sample size of half a per cent.
"""

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_LARGEST_PROBABILITY = 1 - 1e-9


def marginal_log_ratio(
    x_logged: Any,
    x_policy: Any,
    *,
    weight: Any = None,
    group: Any = None,
    classifier: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Float64:
    """Log ratio of the policy's law to the logged law, of each logged text's embedding.

    A classifier of policy samples against logged texts is fitted on all folds but one and scores the one left out; its
    log-odds over all folds are then recalibrated (slope and intercept), so that an over-confident
    classifier is pulled back. Equal texts of both samples share a fold.

    Parameters
    ----------
    x_logged:
        Embeddings of the logged texts (with their prompts' appended, when there are prompts), shape [n, d].
    x_policy:
        Embeddings of texts drawn from the policy, for prompts drawn from the logged ones, shape [m, d].
    weight:
        Exposure of the logged rows, shape [n], or None for ones.
    group:
        Labels [n] of logged rows that share a fold, or None: rows of equal embedding.
    classifier:
        Any scikit-learn classifier with ``predict_proba`` that takes ``sample_weight``. None takes a logistic
        regression on the coordinates, or on standardised ones and their squares; which, and with which penalty, is
        chosen by held-out log-loss.
    folds, seed:
        Of the cross-fitting.

    Returns
    -------
    Float64
        Shape [n], nats: ``log_ratio`` for `snipw`, `sndr`, `mips` or `mdr`.

    Raises
    ------
    DataError
        On arrays that cannot be used, fewer groups than folds, or texts of the policy that are all of one fold.

    Warns
    -----
    OverlapWarning
        When the classifier tells the two samples apart (area under the curve from 0.95), with the number.

    Notes
    -----
    Saito and Joachims (2022): the weights are right when the text acts on the outcome through its embedding alone.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import marginal_log_ratio
    >>> rng = np.random.default_rng(0)
    >>> logged, policy = rng.normal(size=(2000, 1)), rng.normal(0.5, 1.0, size=(2000, 1))
    >>> log_ratio = marginal_log_ratio(logged, policy)
    >>> truth = 0.5 * logged[:, 0] - 0.125
    >>> bool(np.corrcoef(log_ratio, truth)[0, 1] > 0.99)
    True
    """
    sample = _Samples.of(x_logged, x_policy, weight, group, folds, seed)
    candidates = [classifier] if classifier is not None else _candidates(sample.x)
    score = _best_score(candidates, sample)
    area = float(roc_auc_score(sample.label, score, sample_weight=sample.weight))
    if area >= SEPARATED:
        warnings.warn(
            f"a classifier tells the policy's texts from the logged ones with an area under the curve of {area:.3f}: "
            "in embedding space too there is next to no overlap",
            OverlapWarning,
            stacklevel=2,
        )
    return np.asarray(score[sample.label == 0], dtype=np.float64)


def mips(log_ratio: Any, xi: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Marginalised importance weighting: `snipw` with the ratios of `marginal_log_ratio`.

    Parameters, errors and warnings as in `snipw`. The standard error takes the ratios as known. A penalised
    classifier sees a difference too small, which keeps the value near to the logs' own; the interval does not count
    that, and may be far too narrow. `mdr` leans on the ratios far less.

    Examples
    --------
    >>> from causalopt.evaluation import mips
    >>> mips([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]).value
    2.0
    """
    estimate = snipw(log_ratio, xi, reader_response=reader_response, weight=weight, cluster=cluster)
    return replace(estimate, estimator="mips")


def mdr(
    log_ratio: Any,
    xi: Any,
    g: Any,
    g_policy: Any,
    *,
    reader_response: Any = None,
    weight: Any = None,
    cluster: Any = None,
) -> Estimate:
    """Marginalised doubly robust value: `sndr` with the ratios of `marginal_log_ratio`.

    Parameters, errors and warnings as in `sndr`. An error of the ratios is multiplied by the error of g, so that taking
    them as known costs little where g is good.

    Examples
    --------
    >>> from causalopt.evaluation import mdr
    >>> mdr([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [2.0, 4.0]).value
    4.0
    """
    estimate = sndr(log_ratio, xi, g, g_policy, reader_response=reader_response, weight=weight, cluster=cluster)
    return replace(estimate, estimator="mdr")


@dataclass(frozen=True, eq=False)
class _Samples:
    x: Float64
    label: Int64  # 1 for the policy's texts
    weight: Float64  # the two samples weigh the same, so that log-odds are log-ratios
    fold: Int64

    @classmethod
    def of(cls, x_logged: Any, x_policy: Any, weight: Any, group: Any, folds: int, seed: int) -> _Samples:
        logged = as_matrix("x_logged", x_logged)
        policy = as_matrix("x_policy", x_policy)
        n, m = len(logged), len(policy)
        if logged.shape[1] != policy.shape[1]:
            raise DataError(f"x_logged has {logged.shape[1]} dimensions and x_policy {policy.shape[1]}")
        if n == 0 or m == 0:
            raise DataError(f"x_logged has {n} rows and x_policy {m}: both need some")
        x = np.concatenate([logged, policy])
        same = np.unique(x, axis=0, return_inverse=True)[1].reshape(-1)
        codes = same[:n] if group is None else as_codes("group", group, n)
        fold = _folds(codes, same, folds, np.random.default_rng(seed))
        if len(np.unique(fold[n:])) < 2:
            raise DataError(
                f"the {m} texts of the policy are {len(np.unique(same[n:]))} distinct ones, all of one fold: a "
                "classifier cannot be fitted on the other folds"
            )
        return cls(
            x=x,
            label=np.repeat([0, 1], [n, m]).astype(np.int64),
            weight=np.concatenate([as_exposure(weight, n), np.full(m, n / m)]),
            fold=fold,
        )


def _folds(codes: Array, same: Array, folds: int, rng: np.random.Generator) -> Int64:
    """Deal groups of logged rows to folds; a policy text goes where its equal among the logged ones is."""
    groups = np.unique(codes)
    if folds < 2 or len(groups) < folds:
        raise DataError(f"{folds} folds cannot be dealt from {len(groups)} groups of logged texts")
    dealt = np.empty(groups.max() + 1, dtype=np.int64)
    dealt[groups] = rng.permutation(np.arange(len(groups)) % folds)
    fold_of_text = rng.permutation(np.arange(same.max() + 1) % folds).astype(np.int64)
    fold_of_text[same[: len(codes)]] = dealt[codes]
    return np.concatenate([dealt[codes], fold_of_text[same[len(codes) :]]])


def _candidates(x: Float64) -> list[Any]:
    """Logistic regressions on the coordinates as they are, and on standardised ones with their squares.

    As they are, in a common unit, the directions in which texts differ most are penalised least; standardised, all are
    penalised alike, and few texts leave most of a difference unseen.
    """
    unit = float(np.sqrt(np.mean(np.var(x, axis=0)))) or 1.0
    found = []
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500)
        squared = (StandardScaler(), FunctionTransformer(_with_squares), StandardScaler())
        found += [
            make_pipeline(FunctionTransformer(_in_units_of, kw_args={"unit": unit}), model),
            make_pipeline(*squared, model),
        ]
    return found


def _in_units_of(x: Array, unit: float) -> Array:
    return x / unit


def _with_squares(x: Array) -> Array:
    return np.concatenate([x, x**2], axis=1)


def _best_score(candidates: Sequence[Any], sample: _Samples) -> Float64:
    """Calibrated held-out log-odds of the candidate with the smallest log-loss, shape [n + m]."""
    best, smallest = np.zeros(len(sample.x)), np.inf
    for candidate in candidates:
        score = _calibrated(_held_out_log_odds(candidate, sample), sample)
        loss = float(log_loss(sample.label, 1 / (1 + np.exp(-score)), sample_weight=sample.weight))
        if loss < smallest:
            best, smallest = score, loss
    return best


def _held_out_log_odds(candidate: Any, sample: _Samples) -> Float64:
    score = np.empty(len(sample.x))
    for fold in np.unique(sample.fold):
        held, rest = sample.fold == fold, sample.fold != fold
        model = clone(candidate)
        last = f"{model.steps[-1][0]}__sample_weight" if hasattr(model, "steps") else "sample_weight"
        model.fit(sample.x[rest], sample.label[rest], **{last: sample.weight[rest]})
        probability = model.predict_proba(sample.x[held])[:, 1]
        score[held] = logit(np.clip(probability, 1 - _LARGEST_PROBABILITY, _LARGEST_PROBABILITY))
    return score


def _calibrated(score: Float64, sample: _Samples) -> Float64:
    """Refit slope and intercept of the log-odds (Platt 1999); a score that points the wrong way counts for nothing."""
    spread = float(score.std())
    if spread == 0:
        return np.zeros(len(score))
    model = LogisticRegression(C=1e4).fit(score[:, None] / spread, sample.label, sample_weight=sample.weight)
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:
        return np.zeros(len(score))
    return np.asarray(slope * score + float(model.intercept_[0]), dtype=np.float64)
