"""Regressions that are linear in the text and in the reader: averages over either are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.nuisance.coordinates import PrincipalCoordinates, standardization
from causalopt.typing import Array, Float64, Int64


@dataclass(frozen=True, eq=False)
class BilinearDesign:
    """Columns of a regression on text and reader: coordinates u, covariates w, and products of the two.

    A product lets the effect of a text differ between readers. The leading coordinates are the ones that get products.

    Attributes
    ----------
    coordinates:
        Of the embedding, r of them.
    center, scale:
        Of the p covariates.
    crossed:
        Leading coordinates that are multiplied with every covariate.
    """

    coordinates: PrincipalCoordinates
    center: Float64
    scale: Float64
    crossed: int

    @classmethod
    def of(cls, x: Array, w: Array, weight: Float64, products: int) -> Self:
        """Make a design with at most ``products`` product columns."""
        coordinates = PrincipalCoordinates.of(x, weight)
        center, scale = standardization(w, weight)
        crossed = 0 if w.shape[1] == 0 else min(len(coordinates.variance), products // w.shape[1])
        return cls(coordinates, center, scale, crossed)

    @property
    def block(self) -> Int64:
        """Which block a column belongs to, shape [r + p + crossed * p]: 0 text, 1 reader, 2 product."""
        r, p = len(self.coordinates.variance), len(self.center)
        return np.repeat(np.array([0, 1, 2]), [r, p, self.crossed * p])

    @property
    def variance(self) -> Float64:
        """Variance of the embedding behind each column, as a share of the largest; 1 for covariates."""
        share = self.coordinates.variance / self.coordinates.variance.max(initial=1e-300)
        return np.concatenate([share, np.ones(len(self.center)), np.repeat(share[: self.crossed], len(self.center))])

    def text(self, x: Array) -> Float64:
        """Return [1, u], shape [n, 1 + r]."""
        return np.column_stack([np.ones(len(x)), self.coordinates.transform(x)])

    def reader(self, w: Array) -> Float64:
        """Return [1, standardised w], shape [n, 1 + p]."""
        return np.column_stack([np.ones(len(w)), (np.asarray(w, dtype=np.float64) - self.center) / self.scale])

    def matrix(self, x: Array, w: Array) -> Float64:
        """Return all columns without the constant, shape [n, r + p + crossed * p]."""
        u, v = self.text(x)[:, 1:], self.reader(w)[:, 1:]
        products = (u[:, : self.crossed, None] * v[:, None, :]).reshape(len(u), -1)
        return np.hstack([u, v, products])

    def function(self, coefficients: Float64) -> BilinearFunction:
        """Return the regression function with an intercept and these coefficients of `matrix`'s columns."""
        intercept, coefficients = coefficients[0], coefficients[1:]
        r, p = len(self.coordinates.variance), len(self.center)
        table = np.zeros((1 + r, 1 + p))
        table[0, 0] = intercept
        table[1:, 0] = coefficients[:r]
        table[0, 1:] = coefficients[r : r + p]
        table[1 : 1 + self.crossed, 1:] = coefficients[r + p :].reshape(self.crossed, p)
        return BilinearFunction(self, table)


@dataclass(frozen=True, eq=False)
class BilinearFunction:
    """m(x, w) = [1, u]' table [1, v] with u of the text and v of the reader; table is [1 + r, 1 + p]."""

    design: BilinearDesign
    table: Float64

    def predict(self, x: Array, w: Array) -> Float64:
        """m(x_i, w_i), shape [n]."""
        return np.asarray(np.einsum("ij,ij->i", self.design.text(x) @ self.table, self.design.reader(w)))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Mean over the readers, exact: m is linear in w, so it is m at the mean reader. Shape [n]."""
        mean = np.average(self.design.reader(w_reference), axis=0, weights=weight_reference)
        return np.asarray(self.design.text(x) @ (self.table @ mean), dtype=np.float64)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts, exact: m is linear in u. Shape [n], one value a reader."""
        mean = self.design.text(x_draws).mean(axis=0)
        return np.asarray(self.design.reader(w) @ (mean @ self.table), dtype=np.float64)
