"""Covariates of readers as features of an assignment model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.nuisance.coordinates import standardization
from causalopt.typing import Array, Float64

MOST_FOR_SQUARES = 15
"""Number of covariates above which their squares and products are not tried."""


@dataclass(frozen=True, eq=False)
class ReaderFeatures:
    """phi(w): standardised covariates, optionally with their squares and products, each standardised again.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.features import ReaderFeatures
    >>> w = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    >>> ReaderFeatures.of(w, np.ones(3), squares=False).transform(w).round(2).tolist()
    [[-1.22, 0.0], [0.0, 0.0], [1.22, 0.0]]
    """

    center: Float64
    scale: Float64
    squares: tuple[Float64, Float64] | None

    @classmethod
    def of(cls, w: Array, weight: Float64, squares: bool) -> Self:
        """Learn means and deviations; a constant column becomes zero."""
        center, scale = standardization(w, weight)
        if not squares:
            return cls(center, scale, None)
        return cls(center, scale, _standardization_of_products(w, center, scale, weight))

    @classmethod
    def candidates(cls, w: Array, weight: Float64) -> list[Self]:
        """Features to choose from: linear, and with squares if there are not too many covariates."""
        may_square = 0 < w.shape[1] <= MOST_FOR_SQUARES
        return [cls.of(w, weight, squares) for squares in ((False, True) if may_square else (False,))]

    def transform(self, w: Array) -> Float64:
        """Return phi, shape [n, number of features]."""
        v = np.asarray((w - self.center) / self.scale, dtype=np.float64)
        if self.squares is None:
            return v
        center, scale = self.squares
        return np.hstack([v, (_products(v) - center) / scale])


def _standardization_of_products(w: Array, center: Float64, scale: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """`standardization` of the products of covariates, a pair of covariates at a time."""
    v = np.asarray((w - center) / scale, dtype=np.float64)
    pairs = zip(*np.triu_indices(v.shape[1]), strict=True)
    found = [standardization((v[:, j] * v[:, k])[:, None], weight) for j, k in pairs]
    return np.concatenate([mean for mean, _ in found]), np.concatenate([deviation for _, deviation in found])


def _products(v: Float64) -> Float64:
    first, second = np.triu_indices(v.shape[1])
    return np.asarray(v[:, first] * v[:, second])
