"""Density ratios of logged and drawn texts, from classifiers that separate the two and are scored on held-out folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from causalopt.arrays import as_codes, as_embeddings, as_exposure
from causalopt.data.folds import row_codes
from causalopt.errors import DataError
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_LARGEST_PROBABILITY = 1 - 1e-9
_LARGEST = float(logit(_LARGEST_PROBABILITY))
_FEW_COLUMNS = 128
"""Up to so many columns, a few Newton steps take less time than the many gradients of L-BFGS."""


@dataclass(frozen=True, eq=False)
class TwoSamples:
    """n logged texts followed by m drawn ones.

    Attributes
    ----------
    x:
        Embeddings, shape [n + m, d].
    label:
        0 for logged, 1 for drawn texts, shape [n + m].
    weight:
        Shape [n + m]; the two samples have the same total weight, so that log-odds are log-ratios.
    fold:
        Shape [n + m]; rows of a group, and drawn texts that equal a logged one, share a fold.
    text:
        Code of equal texts (of equal embeddings, if no codes were given), shape [n + m].
    """

    x: Embeddings
    label: Int64
    weight: Float64
    fold: Int64
    text: Int64

    @classmethod
    def of(
        cls,
        x_logged: Any,
        x_policy: Any,
        *,
        weight: Any = None,
        group: Any = None,
        text: Any = None,
        folds: int = 5,
        seed: int = 0,
    ) -> TwoSamples:
        """Validate, and assign groups (equal texts, if None) to folds; ``text`` holds labels [n + m] of equal texts."""
        logged = as_embeddings("x_logged", x_logged)
        policy = as_embeddings("x_policy", x_policy)
        n, m = len(logged), len(policy)
        if logged.shape[1] != policy.shape[1]:
            raise DataError(f"x_logged has {logged.shape[1]} dimensions and x_policy {policy.shape[1]}")
        if n == 0 or m == 0:
            raise DataError(f"x_logged has {n} rows and x_policy {m}: both need some")
        x = _together(logged, policy)
        if text is not None:
            as_codes("text", text, n + m)
        same = row_codes(x) if text is None else _sorted_codes(text)
        codes = same[:n] if group is None else as_codes("group", group, n)
        return cls(
            x=x,
            label=np.repeat([0, 1], [n, m]).astype(np.int64),
            weight=np.concatenate([as_exposure(weight, n), np.full(m, n / m)]),
            fold=_folds(codes, same, folds, np.random.default_rng(seed)),
            text=same,
        )

    @cached_property
    def distinct(self) -> _Distinct:
        """The rows without those that repeat an embedding, label and fold."""
        key = np.column_stack([row_codes(self.x), self.label, self.fold])
        of_row = row_codes(key)  # numbered by first appearance
        first = np.unique(of_row, return_index=True)[1]
        return _Distinct(
            x=np.asarray(self.x[first], dtype=np.float64),
            label=self.label[first],
            weight=np.asarray(np.bincount(of_row, self.weight), dtype=np.float64),
            fold=self.fold[first],
            count=np.bincount(of_row).astype(np.float64),
            of_row=of_row,
        )

    def with_draws_of_rows(self, row: Int64) -> TwoSamples:
        """Put each drawn text into the fold of the logged row whose prompt it answers; ``row`` has shape [m]."""
        n = len(self.fold) - len(row)
        return replace(self, fold=np.concatenate([self.fold[:n], self.fold[:n][row]]))


@dataclass(frozen=True, eq=False)
class _Distinct:
    """Distinct rows of two samples; ``weight`` is the sum over equal ones.

    Attributes
    ----------
    x, label, weight, fold:
        As in `TwoSamples`, for k distinct rows.
    count:
        How often each occurs, shape [k].
    of_row:
        Position of each text of the two samples among the distinct ones, shape [n + m].
    """

    x: Float64
    label: Int64
    weight: Float64
    fold: Int64
    count: Float64
    of_row: Int64


def _sorted_codes(labels: Any) -> Int64:
    """Codes of labels in their order, shape [n]; of strings, which an array would hold at the length of the longest."""
    return pd.factorize(np.asarray(labels, dtype=object), sort=True)[0].astype(np.int64)


def _together(logged: Embeddings, policy: Embeddings) -> Embeddings:
    if isinstance(logged, RepeatedRows) and isinstance(policy, RepeatedRows):
        code = np.concatenate([logged.code, len(logged.table) + policy.code])
        return RepeatedRows(np.concatenate([logged.table, policy.table]), code)
    return np.concatenate([np.asarray(logged, dtype=np.float64), np.asarray(policy, dtype=np.float64)])


def _folds(codes: Array, same: Array, folds: int, rng: np.random.Generator) -> Int64:
    """Assign groups of logged rows to folds; a policy text joins the fold of the logged text that it equals, if any."""
    groups = np.unique(codes)
    if folds < 2 or len(groups) < folds:
        raise DataError(f"{folds} folds cannot be made of {len(groups)} groups of logged texts")
    fold_of_group = np.empty(groups.max() + 1, dtype=np.int64)
    fold_of_group[groups] = rng.permutation(np.arange(len(groups)) % folds)
    fold_of_text = rng.permutation(np.arange(same.max() + 1) % folds).astype(np.int64)
    fold_of_text[same[: len(codes)]] = fold_of_group[codes]
    return np.concatenate([fold_of_group[codes], fold_of_text[same[len(codes) :]]])


def candidates(x: Embeddings) -> list[Any]:
    """Logistic regressions on the raw coordinates, and on standardised ones with their squares.

    Raw coordinates have a common unit, so that the directions in which texts differ most are penalised least.
    Standardised ones are all penalised alike, so that with few texts most of a difference is missed.
    """
    unit = float(np.sqrt(np.mean(_variance(x)))) or 1.0
    return [_Logistic(strength, of) for strength in _STRENGTHS for of in (unit, None)]


def _variance(x: Embeddings) -> Float64:
    """Variance of each column, shape [d]; of rows that repeat, each counts as often as it occurs."""
    if not isinstance(x, RepeatedRows):
        return np.asarray(np.var(x, axis=0))
    share = np.bincount(x.code, minlength=len(x.table)) / len(x)
    table = x.table.astype(np.float64)
    return np.asarray(share @ (table - share @ table) ** 2)


@dataclass(frozen=True)
class _Logistic:
    """Penalised logistic regression on distinct texts, which count as often as they occur.

    Attributes
    ----------
    strength:
        Inverse of the penalty.
    unit:
        Divides the raw coordinates; None takes standardised coordinates and their squares.
    """

    strength: float
    unit: float | None

    def log_odds(self, sample: _Distinct, rest: Array, held: Array) -> Float64:
        """Log-odds of the ``held`` texts, after a fit to the ``rest``."""
        if self.unit is None:
            z = _standardised(sample.x, sample.count * rest)
            z = _standardised(np.concatenate([z, z**2], axis=1), sample.count * rest)
        else:
            z = sample.x / self.unit
        coefficients = _fit(z[rest], sample.label[rest], sample.weight[rest], self.strength)
        return np.asarray(z[held] @ coefficients[:-1] + coefficients[-1], dtype=np.float64)


def _fit(z: Float64, label: Int64, weight: Float64, strength: float) -> Float64:
    """Coefficients of a penalised logistic regression, and its intercept, shape [number of columns + 1]."""
    solver = "newton-cholesky" if z.shape[1] <= _FEW_COLUMNS else "lbfgs"
    model = LogisticRegression(C=strength, solver=solver, tol=1e-6, max_iter=5000)
    model.fit(z, label, sample_weight=weight)
    return np.append(model.coef_[0], model.intercept_[0])


def _standardised(x: Float64, count: Float64) -> Float64:
    """Centre and scale columns by the mean and standard deviation of rows that occur ``count`` times."""
    total = count.sum()
    mean = count @ x / total
    spread = np.sqrt(count @ (x - mean) ** 2 / total)
    constant = spread <= total * np.finfo(float).eps * np.abs(mean)  # up to rounding error, which is not scaled up
    return np.asarray(np.where(constant, 0.0, (x - mean) / np.where(constant, 1.0, spread)))


def best_log_odds(candidates: Sequence[Any], sample: TwoSamples) -> Float64:
    """Calibrated held-out log-odds of the candidate with the smallest log-loss, shape [n + m]."""
    best, smallest = np.zeros(len(sample.x)), np.inf
    for candidate in candidates:
        score = held_out_log_odds(candidate, sample)
        slope, intercept = platt_scaling(score, sample.label, sample.weight)
        score = slope * score + intercept
        loss = float(np.average(np.logaddexp(0.0, np.where(sample.label == 1, -score, score)), weights=sample.weight))
        if loss < smallest:
            best, smallest = score, loss
    return best


def held_out_log_odds(candidate: Any, sample: TwoSamples) -> Float64:
    """Log-odds of each text by a copy of the classifier that was fitted on the other folds, shape [n + m]."""
    if isinstance(candidate, _Logistic):
        distinct = sample.distinct
        score = np.empty(len(distinct.x))
        for fold in np.unique(distinct.fold):
            held = distinct.fold == fold
            score[held] = candidate.log_odds(distinct, ~held, held)
        return np.clip(score, -_LARGEST, _LARGEST)[distinct.of_row]
    score = np.empty(len(sample.x))
    for fold in np.unique(sample.fold):
        held, rest = sample.fold == fold, sample.fold != fold
        model = clone(candidate)
        last = f"{model.steps[-1][0]}__sample_weight" if hasattr(model, "steps") else "sample_weight"
        model.fit(np.asarray(sample.x[rest], dtype=np.float64), sample.label[rest], **{last: sample.weight[rest]})
        # log p / (1 - p) of two samples of equal weight is the log of the ratio of their densities.
        probability = model.predict_proba(np.asarray(sample.x[held], dtype=np.float64))[:, 1]
        score[held] = logit(np.clip(probability, 1 - _LARGEST_PROBABILITY, _LARGEST_PROBABILITY))
    return score


def platt_scaling(log_odds: Float64, label: Array, weight: Float64) -> tuple[float, float]:
    """Slope and intercept that calibrate held-out log-odds (Platt 1999).

    Parameters
    ----------
    log_odds, label, weight:
        Shape [n]; the label is 1 if the log-odds should be large, else 0.

    Returns
    -------
    tuple
        1 and 0 for log-odds that are calibrated already; 0 and 0 if they are constant or have the wrong sign, and so
        are uninformative.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.density_ratio import platt_scaling
    >>> rng = np.random.default_rng(0)
    >>> log_odds = rng.normal(size=20_000)
    >>> label = rng.random(20_000) < 1 / (1 + np.exp(-log_odds))
    >>> slope, intercept = platt_scaling(4 * log_odds, label, np.ones(20_000))
    >>> round(slope, 2), round(abs(intercept), 1)
    (0.25, 0.0)
    """
    spread = float(log_odds.std())
    if spread == 0:
        return 0.0, 0.0
    model = LogisticRegression(C=1e4).fit(log_odds[:, None] / spread, label, sample_weight=weight)
    slope = float(model.coef_[0, 0]) / spread
    return (slope, float(model.intercept_[0])) if slope > 0 else (0.0, 0.0)
