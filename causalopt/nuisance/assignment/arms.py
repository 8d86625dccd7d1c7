"""Texts coded into a few arms: the probability of a reader's arm by multinomial logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from causalopt.data.folds import row_codes
from causalopt.errors import ConfigError, DataError, OverlapWarning
from causalopt.nuisance.features import ReaderFeatures
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.typing import Array, Float64, Int64

ROUNDING = 1e-5
"""Largest distance of two vectors of one arm, as a share of the longest: the float32 rounding of equal texts."""


@dataclass(frozen=True, eq=False)
class Arms:
    """Distinct rows of an embedding, in the order of their first appearance, shape [arms, d].

    Rows are distinguished by their distance, not by their bytes: equal texts may differ in the last bit.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.arms import Arms
    >>> Arms.of(np.array([[2.0], [1.0], [2.0]]), most=5).codes(np.array([[2.0], [1.0]])).tolist()
    [0, 1]
    """

    rows: Float64

    @classmethod
    def of(cls, x: Array, most: int) -> Self:
        """List the arms; more than ``most`` of them raise `ConfigError`."""
        x = np.asarray(x, dtype=np.float64)
        codes = row_codes(x)
        distinct = x[np.unique(codes, return_index=True)[1]]
        kept: list[Array] = []
        for row in distinct:
            if len(kept) > most:
                break
            if not kept or _distance(row[None], np.stack(kept)).min() > ROUNDING:
                kept.append(row)
        if len(kept) > most:
            raise ConfigError(
                f"a model of arms compares at most {most} texts that are each read often, and there are "
                f"{len(distinct)} distinct ones: use a model of the embedding"
            )
        return cls(np.stack(kept))

    @property
    def count(self) -> int:
        return len(self.rows)

    def known(self, x: Array) -> Array:
        """Whether each row is one of the arms, shape [n]."""
        return np.asarray(_distance(np.asarray(x, dtype=np.float64), self.rows).min(axis=1) <= ROUNDING)

    def codes(self, x: Array) -> Int64:
        """Position of each row among the arms, shape [n]; a row that is not an arm raises `DataError`."""
        distance = _distance(np.asarray(x, dtype=np.float64), self.rows)
        if (distance.min(axis=1) > ROUNDING).any():
            raise DataError(
                "a text is not among the arms that the model was fitted on: with few texts, name a group column such "
                "as the reader, so that every fold has rows of every text"
            )
        return np.asarray(distance.argmin(axis=1), dtype=np.int64)


def _distance(x: Float64, rows: Float64) -> Float64:
    """Distances, as a share of the length of the longest row, shape [n, arms]."""
    scale = float(np.sqrt((rows**2).sum(axis=1).max(initial=0.0))) or 1.0
    return np.asarray(cdist(x, rows) / scale, dtype=np.float64)


MOST_ARMS = 100
INNER_FOLDS = 5
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Penalties on the squared coefficients, per row of data."""
HARDLY = 0.01
"""Share of an arm's overall frequency below which a reader hardly ever gets it."""


class ArmsAssignment(BaseEstimator):  # type: ignore[misc]
    """s(a, w) = P(arm a) / P(arm a | w), for a few texts that were each shown often.

    P(a | w) is a multinomial logistic regression on the covariates (with their squares and products if this lowers the
    held-out loss), with a penalty chosen by held-out loss; P(a) is its mean over the training readers.

    Parameters
    ----------
    seed:
        Seed of the assignment of rows to inner folds.

    Raises
    ------
    ConfigError
        If there are more than 100 distinct texts.
    DataError
        If there is only one text, or a text at prediction is not among the arms.

    Warns
    -----
    OverlapWarning
        If more than one percent of the readers hardly ever get some arm: less than a hundredth as often as readers
        overall.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.arms import ArmsAssignment
    >>> rng = np.random.default_rng(0)
    >>> w = rng.choice([0.0, 1.0], size=(4000, 1))
    >>> arm = (rng.random((4000, 1)) < 0.3 + 0.4 * w).astype(float)
    >>> model = ArmsAssignment().fit(arm, w, np.ones(4000))
    >>> s = model.stabilized_weight(np.array([[1.0], [1.0]]), np.array([[0.0], [1.0]]))
    >>> bool(np.allclose(s, [0.5 / 0.3, 0.5 / 0.7], atol=0.15))
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        self.arms_ = Arms.of(x, MOST_ARMS)
        if self.arms_.count < 2:
            raise DataError("there is a single text: no other arm to compare it with")
        arm = self.arms_.codes(x)
        share = weight / weight.mean()
        best = np.inf
        for features in ReaderFeatures.candidates(w, weight):
            phi = features.transform(w)
            for penalty in PENALTIES:
                loss = self._held_out_loss(phi, arm, share, penalty)
                if loss < best:
                    best, self.features_, chosen = loss, features, penalty
        self.model_ = _logistic(chosen, share).fit(self.features_.transform(w), arm, sample_weight=share)
        readers, reader_weight = distinct_rows(w, weight)
        given = self._probability(readers)
        self.marginal_ = np.average(given, axis=0, weights=reader_weight)
        self._warn(given, reader_weight)
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        arm = self.arms_.codes(x)
        given = self._probability(w)[np.arange(len(w)), arm]
        return np.asarray(self.marginal_[arm] / np.maximum(given, 1e-300))

    def _probability(self, w: Array) -> Float64:
        return np.asarray(self.model_.predict_proba(self.features_.transform(w)), dtype=np.float64)

    def _held_out_loss(self, phi: Float64, arm: Int64, weight: Float64, penalty: float) -> float:
        total = 0.0
        splitter = KFold(min(INNER_FOLDS, len(arm)), shuffle=True, random_state=self.seed)
        for train, test in splitter.split(phi):
            model = _logistic(penalty, weight[train])
            if len(np.unique(arm[train])) < 2:
                continue
            model.fit(phi[train], arm[train], sample_weight=weight[train])
            given = np.full((len(test), self.arms_.count), 1e-12)
            given[:, model.classes_] = model.predict_proba(phi[test])
            total -= float(weight[test] @ np.log(np.maximum(given[np.arange(len(test)), arm[test]], 1e-12)))
        return total

    def _warn(self, given: Float64, weight: Float64) -> None:
        rare = given < HARDLY * self.marginal_
        share = float(np.average(rare.any(axis=1), weights=weight))
        if share > HARDLY:
            warnings.warn(
                f"{100 * share:.0f}% of the readers hardly ever get some text (less than {HARDLY:g} times as often as "
                f"readers overall; {int(rare.any(axis=0).sum())} of {self.arms_.count} texts): its effect on "
                "them is known from the outcome model alone",
                OverlapWarning,
                stacklevel=3,
            )


def _logistic(penalty: float, weight: Float64) -> LogisticRegression:
    return LogisticRegression(C=1 / (penalty * float(weight.sum())), max_iter=500)
