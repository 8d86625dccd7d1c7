"""Texts coded into a few arms: which arm a reader got, by multinomial logistic regression."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from causalopt.errors import DataError, OverlapWarning
from causalopt.nuisance.assignment.coded import Arms
from causalopt.nuisance.features import ReaderFeatures
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.typing import Array, Float64, Int64

MOST_ARMS = 100
INNER_FOLDS = 5
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Of the squared coefficients, per row of data."""
HARDLY = 0.01
"""Share of an arm's frequency on the whole below which a reader hardly ever gets it."""


class ArmsAssignment:
    """s(a, w) = P(arm a) / P(arm a | w), for texts that are few and each shown often.

    P(a | w) is a multinomial logistic regression on the covariates (with their squares and products where held-out
    loss asks for them), its penalty chosen by held-out loss; P(a) is its mean over the training readers.

    Parameters
    ----------
    seed:
        Deals rows over the inner folds.

    Raises
    ------
    ConfigError
        When there are more than 100 distinct texts.
    DataError
        When there is one text only, or a text at prediction is none of the arms.

    Warns
    -----
    OverlapWarning
        When more than one percent of the readers hardly ever get some arm: less than a hundredth as often as readers
        do on the whole.

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
                f"readers on the whole; {int(rare.any(axis=0).sum())} of {self.arms_.count} texts): what it does to "
                "them is known from the outcome model alone",
                OverlapWarning,
                stacklevel=3,
            )


def _logistic(penalty: float, weight: Float64) -> LogisticRegression:
    return LogisticRegression(C=1 / (penalty * float(weight.sum())), max_iter=500)
