"""Outcome models E[Y | x, w] that need nothing but arrays; their averages over readers are exact."""

from __future__ import annotations

from typing import Self

import numpy as np

from causalopt.data.folds import text_ids
from causalopt.nuisance.outcome.boosting import Boosting
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.nuisance.outcome.tree_averages import LeafSum
from causalopt.typing import Array, Float64, Int64

__all__ = ["LightGBMOutcome", "RidgeLightGBMOutcome", "RidgeOutcome", "ZeroOutcome"]


class ZeroOutcome:
    """m = 0 everywhere: turns outcome adjustment off, so that the pseudo-outcome is s * y, and y where s = 1."""

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.zeros(len(x))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return np.zeros(len(x))

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), shape [n]."""
        return np.zeros(len(w))


class LightGBMOutcome:
    """E[Y | x, w] by gradient-boosted trees about the mean outcome.

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

    def __init__(
        self, rounds: int = 400, learning_rate: float = 0.05, leaves: int = 15, rows_per_leaf: int = 20, seed: int = 0
    ) -> None:
        self.boosting = Boosting(rounds, learning_rate, leaves, rows_per_leaf, seed)

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        self.mean_ = float(np.average(y, weights=weight))
        self.trees_: LeafSum = self.boosting.fit(x, w, y - self.mean_, weight, text_ids(x, text_id))
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return self.mean_ + self.trees_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.mean_ + self.trees_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.mean_ + self.trees_.reader_response(x_draws, w)


class RidgeLightGBMOutcome:
    """E[Y | x, w] by a ridge regression, and trees on what it leaves of rows that it was not fitted on.

    The ridge holds the linear part at full size, which trees alone would shrink; the trees add curvature and
    interactions where held-out loss finds them.

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

    def __init__(
        self,
        products: int = 256,
        rounds: int = 200,
        learning_rate: float = 0.05,
        leaves: int = 8,
        rows_per_leaf: int = 20,
        seed: int = 0,
    ) -> None:
        self.ridge = RidgeOutcome(products, seed)
        self.boosting = Boosting(rounds, learning_rate, leaves, rows_per_leaf, seed)

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        text_id = text_ids(x, text_id)
        self.ridge.fit(x, w, y, weight, text_id)
        rest = y - self.ridge.held_out_
        self.trees_: LeafSum = self.boosting.fit(x, w, rest - np.average(rest, weights=weight), weight, text_id)
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return self.ridge.predict(x, w) + self.trees_.predict(x, w)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        linear = self.ridge.marginal(x, w_reference, weight_reference)
        return linear + self.trees_.marginal(x, w_reference, weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return self.ridge.reader_response(x_draws, w) + self.trees_.reader_response(x_draws, w)
