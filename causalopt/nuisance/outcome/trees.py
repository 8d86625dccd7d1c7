"""Outcome models with boosted trees, with rounds chosen by held-out loss; averages over readers are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import lightgbm
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from causalopt.blocks import ROWS, blocks
from causalopt.data.folds import inner_folds, text_ids
from causalopt.doors import check_number
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.nuisance.outcome.tree_averages import LeafSum
from causalopt.typing import Array, Float64, Int64

INNER_FOLDS = 3
PATIENCE = 20
EVIDENCE = 2.0
"""Standard errors by which held-out loss must fall before any tree is kept."""


@dataclass(frozen=True)
class Boosting:
    """Settings of the trees.

    Attributes
    ----------
    rounds:
        Largest number of trees.
    learning_rate:
        Shrinkage of each tree (Friedman 2001).
    leaves:
        Largest number of leaves of a tree.
    rows_per_leaf:
        Smallest number of rows in a leaf.
    seed:
        Seed of LightGBM and of the inner folds.
    """

    rounds: int = 200
    learning_rate: float = 0.05
    leaves: int = 8
    rows_per_leaf: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("rounds", self.rounds, least=1, whole=True)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("leaves", self.leaves, least=2, whole=True)
        check_number("rows_per_leaf", self.rows_per_leaf, least=1, whole=True)

    def parameters(self) -> dict[str, Any]:
        """Parameters of LightGBM: one thread, reproducible trees, and no special treatment of zeros."""
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.rows_per_leaf,
            "max_bin": 63,
            "feature_fraction": 0.5,
            "lambda_l2": 1.0,
            "boost_from_average": False,
            "use_missing": False,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": self.seed,
            "verbosity": -1,
        }

    def fit(self, x: Array, w: Array, target: Float64, weight: Float64, text_id: Int64 | None = None) -> LeafSum:
        """Fit trees to a target of mean zero; return an empty sum if held-out loss does not fall.

        Rounds are chosen over folds of texts, and the trees are then scaled by the least-squares slope of the target
        on their held-out predictions, in [0, 1].
        """
        nothing = LeafSum([], x.shape[1])
        text_id = text_ids(x, text_id)
        fold = inner_folds(text_id, INNER_FOLDS, self.seed)
        if fold is None or not np.any(target):
            return nothing
        # The size of a leaf is counted in rows, so weights of mean one preserve the meaning of the penalty.
        share = weight / weight.mean()
        columns = Columns(x, w)
        splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(int(fold.max()) + 1)]
        data = lightgbm.Dataset(columns, target, weight=share, params=self.parameters(), free_raw_data=False)
        found = lightgbm.cv(
            {**self.parameters(), "metric": "l2"},
            data,
            num_boost_round=self.rounds,
            folds=splits,
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            return_cvbooster=True,
        )
        boosters = found["cvbooster"]
        rounds: int = boosters.best_iteration
        held_out = np.empty(len(target))
        for booster, (_, rows) in zip(boosters.boosters, splits, strict=True):
            for block in blocks(len(rows)):
                part = rows[block]
                held_out[part] = booster.predict(columns[part], num_iteration=rounds, num_threads=1)
        slope = _slope(target, held_out, share, pd.factorize(text_id)[0])
        if slope == 0:
            return nothing
        booster = lightgbm.train(self.parameters(), data, num_boost_round=rounds)
        return LeafSum.of(booster, x.shape[1], slope)


class Columns(lightgbm.Sequence):  # type: ignore[misc]
    """Rows of x and w side by side, which LightGBM reads in blocks: it keeps a byte of each number."""

    batch_size = ROWS

    def __init__(self, x: Array, w: Array) -> None:
        self.x, self.w = x, w

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Float64:
        return np.hstack([self.x[rows], self.w[rows]], dtype=np.float64)


def _slope(target: Float64, prediction: Float64, weight: Float64, text: Int64) -> float:
    """Shrinkage of held-out predictions; 0 if their gain is within the noise between texts."""
    size = float(np.sum(weight * prediction**2))
    if size == 0:
        return 0.0
    slope = min(max(float(np.sum(weight * target * prediction)) / size, 0.0), 1.0)
    gain = weight * (target**2 - (target - slope * prediction) ** 2)
    by_text = np.bincount(text, weights=gain)
    error = float(np.sqrt(np.sum((by_text - by_text.mean()) ** 2)))
    return slope if by_text.sum() > EVIDENCE * error else 0.0


__all__ = ["LightGBMOutcome", "RidgeLightGBMOutcome", "RidgeOutcome", "ZeroOutcome"]


class ZeroOutcome(BaseEstimator):  # type: ignore[misc]
    """m = 0 everywhere: turns outcome adjustment off, so that the pseudo-outcome is s * y, and y if s = 1."""

    takes_float32 = True

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.zeros(len(x))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return np.zeros(len(x))

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), shape [n]."""
        return np.zeros(len(w))


class LightGBMOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] from gradient-boosted trees, starting from the mean outcome.

    Trees alone shrink the dose response toward its mean; `RidgeLightGBMOutcome` does so far less.

    Parameters
    ----------
    rounds, learning_rate, leaves, rows_per_leaf, seed:
        See `Boosting`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.trees import LightGBMOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(400, 2)), rng.normal(size=(400, 1))
    >>> y = np.abs(x[:, 0]) + w[:, 0]
    >>> model = LightGBMOutcome(learning_rate=0.2).fit(x, w, y, np.ones(400))
    >>> g = model.marginal(np.array([[0.0, 0.0], [2.0, 0.0]]), w, np.ones(400))
    >>> bool(g[1] - g[0] > 1.0)
    True
    """

    takes_float32 = True

    def __init__(
        self, rounds: int = 400, learning_rate: float = 0.05, leaves: int = 15, rows_per_leaf: int = 20, seed: int = 0
    ) -> None:
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.rows_per_leaf = rows_per_leaf
        self.seed = seed

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        self.mean_ = float(np.average(y, weights=weight))
        boosting = Boosting(self.rounds, self.learning_rate, self.leaves, self.rows_per_leaf, self.seed)
        self.trees_: LeafSum = boosting.fit(x, w, y - self.mean_, weight, text_ids(x, text_id))
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return self.mean_ + self.trees_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.mean_ + self.trees_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.mean_ + self.trees_.reader_response(x_draws, w)


class RidgeLightGBMOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] from a ridge regression, and trees on its residuals for held-out rows.

    The ridge regression keeps the linear part at full size, which trees alone would shrink; the trees add curvature and
    interactions if they reduce held-out loss.

    Parameters
    ----------
    products:
        See `RidgeOutcome`.
    rounds, learning_rate, leaves, rows_per_leaf, seed:
        See `Boosting`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.trees import RidgeLightGBMOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(500, 2)), rng.normal(size=(500, 1))
    >>> y = x[:, 0] + 2 * (x[:, 1] > 0) + w[:, 0]
    >>> model = RidgeLightGBMOutcome().fit(x, w, y, np.ones(500))
    >>> bool(np.mean((model.predict(x, w) - y) ** 2) < 0.1)
    True
    """

    takes_float32 = True

    def __init__(
        self,
        products: int = 256,
        rounds: int = 200,
        learning_rate: float = 0.05,
        leaves: int = 8,
        rows_per_leaf: int = 20,
        seed: int = 0,
    ) -> None:
        self.products = products
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.rows_per_leaf = rows_per_leaf
        self.seed = seed

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        text_id = text_ids(x, text_id)
        self.ridge_ = RidgeOutcome(self.products, self.seed).fit(x, w, y, weight, text_id)
        rest = y - self.ridge_.held_out_
        boosting = Boosting(self.rounds, self.learning_rate, self.leaves, self.rows_per_leaf, self.seed)
        self.trees_: LeafSum = boosting.fit(x, w, rest - np.average(rest, weights=weight), weight, text_id)
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return self.ridge_.predict(x, w) + self.trees_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        linear = self.ridge_.marginal(x, w_reference, weight_reference)
        return linear + self.trees_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.ridge_.reader_response(x_draws, w) + self.trees_.reader_response(x_draws, w)
