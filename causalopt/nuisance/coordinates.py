"""Embeddings in principal coordinates, as used by every model that is linear in the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.blocks import blocks, by_blocks
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64

NEGLIGIBLE = 1e-6
"""Directions with less than this share of the largest variance are left out. The share is of the raw variance if this
keeps all directions, else of the variance after each column is scaled to unit variance."""
ROUNDING = 1e-6
"""Rounding of a number in an embedding, relative to its absolute value: float32, with a safety margin."""
DOUBLE = 1e-10
"""Rounding of a column computed from others, relative to the largest of them: a rotation in float64."""


@dataclass(frozen=True, eq=False)
class PrincipalCoordinates:
    """Whitened principal coordinates: weighted mean zero and identity covariance over the rows they were made from.

    With collinear or constant columns, or more columns than rows, there are fewer coordinates and no singular matrix.
    Columns of different units (a length of thousands next to a 0/1) are all kept: the number of coordinates is judged
    by the columns' correlations. Variation that may be rounding is never scaled up: a direction that hardly varies over
    these rows may vary over others, and would there be multiplied by a million and more. Rounding means a column whose
    variation is at the rounding error of its own size or of the largest column, and a combination of columns whose
    variation is at their rounding error.

    Attributes
    ----------
    center:
        Shape [d].
    directions:
        Shape [d, r], r at most d: ``(x - center) @ directions`` has unit variances.
    variance:
        Variance of x along each coordinate, largest first, shape [r].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.coordinates import PrincipalCoordinates
    >>> x = np.array([[0.0, 0.0, 7.0], [2.0, 1.0, 7.0], [0.0, 1.0, 7.0], [2.0, 0.0, 7.0]])
    >>> coordinates = PrincipalCoordinates.of(x, np.ones(4))
    >>> u = coordinates.transform(x)
    >>> u.shape, np.allclose(u.T @ u / 4, np.eye(2))
    ((4, 2), True)
    """

    center: Float64
    directions: Float64
    variance: Float64

    @classmethod
    def of(cls, x: Embeddings, weight: Float64, rows: Int64 | None = None) -> Self:
        """Find the coordinates of ``x`` [n, d] under ``weight`` [n], or of the ``rows`` of them at some positions."""
        chosen = _Chosen.of(x, weight, rows)
        center = chosen.center()
        spread = chosen.spread(center)
        size = np.hypot(spread, center)  # the mean of x^2, with no further pass over the rows
        varies = spread > np.maximum(ROUNDING * size, DOUBLE * size.max(initial=0.0))
        variance, directions = chosen.principal(center, varies, np.ones(len(center)))
        kept = variance > np.maximum(NEGLIGIBLE * variance.max(initial=0.0), _rounding(directions, size))
        if kept.sum() < min(chosen.count - 1, varies.sum()):
            units = np.where(varies, spread, 1.0)
            correlation, axes = chosen.principal(center, varies, units)
            noise = _rounding(axes, np.where(varies, size / units, 0.0))
            real = correlation > np.maximum(NEGLIGIBLE * correlation.max(), noise)
            if real.sum() > kept.sum():
                # Singular values of this product are exact up to the rounding of the largest; eigenvalues of the
                # covariance only up to its root, which may exceed a 0/1 column next to a column of millions.
                product = np.sqrt(correlation[real])[:, None] * axes[:, real].T * units
                _, singular, transposed = np.linalg.svd(product, full_matrices=False)
                variance, directions, kept = singular**2, transposed.T, np.ones(len(singular), dtype=bool)
        variance = variance[kept]
        return cls(center, np.ascontiguousarray(directions[:, kept] / np.sqrt(variance)), variance)

    def transform(self, x: Embeddings) -> Float64:
        """Return the coordinates of rows, shape [n, r]."""
        return by_blocks(lambda part: (np.asarray(part, dtype=np.float64) - self.center) @ self.directions, x)


def _rounding(directions: Float64, size: Float64) -> Float64:
    """Variance along directions [d, r] caused by rounding of columns of the given sizes, shape [r]."""
    return np.asarray((ROUNDING * size) ** 2 @ directions**2)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Some rows of ``x`` with their weights, never all of them at once in float64."""

    x: Array
    weight: Float64
    rows: Int64 | None
    count: int

    @classmethod
    def of(cls, x: Embeddings, weight: Float64, rows: Int64 | None) -> Self:
        """Choose rows; those that repeat count once each, with the sum of their weights."""
        count = len(x) if rows is None else len(rows)
        if isinstance(x, RepeatedRows):
            part = slice(None) if rows is None else rows
            total = np.bincount(x.code[part], weights=weight[part], minlength=len(x.table)).astype(np.float64)
            occurs = np.bincount(x.code[part], minlength=len(x.table)) > 0
            return cls(x.table, total, None if occurs.all() else np.flatnonzero(occurs), count)
        return cls(x, weight, rows, count)

    def _parts(self) -> Iterator[tuple[Float64, Float64]]:
        """Yield blocks of the rows and of their shares of the weight."""
        total = (self.weight if self.rows is None else self.weight[self.rows]).sum()
        for block in blocks(len(self.x) if self.rows is None else len(self.rows)):
            part = block if self.rows is None else self.rows[block]
            yield np.asarray(self.x[part], dtype=np.float64), self.weight[part] / total

    def center(self) -> Float64:
        """Weighted mean, shape [d]."""
        return np.asarray(sum((share @ x for x, share in self._parts()), np.zeros(self.x.shape[1])))

    def _scaled(self, center: Float64) -> Iterator[Float64]:
        for x, share in self._parts():
            yield (x - center) * np.sqrt(share)[:, None]

    def spread(self, center: Float64) -> Float64:
        """Weighted standard deviation of each column, shape [d]."""
        squares = (np.einsum("ij,ij->j", scaled, scaled) for scaled in self._scaled(center))
        return np.sqrt(sum(squares, np.zeros(self.x.shape[1])))

    def principal(self, center: Float64, varies: Array, units: Float64) -> tuple[Float64, Float64]:
        """Eigenvalues of the covariance in ``units``, largest first, and eigenvectors [d, min(n, d)].

        Columns that do not vary count as zero.
        """
        scaled = (np.where(varies, part, 0.0) / units for part in self._scaled(center))
        d = self.x.shape[1]
        if self.count >= d:
            variance, directions = np.linalg.eigh(sum((part.T @ part for part in scaled), np.zeros((d, d))))
            return variance[::-1], directions[:, ::-1]
        _, singular, transposed = np.linalg.svd(np.concatenate(list(scaled)), full_matrices=False)
        return singular**2, transposed.T


def standardization(w: Array, weight: Float64) -> tuple[Float64, Float64]:
    """Weighted mean and standard deviation of each column, shape [p]; the deviation of a constant column is inf.

    Division by it makes a constant column zero, here and at any other value: nothing was learned about it.
    """
    share = weight / weight.sum()
    w = np.asarray(w, dtype=np.float64)
    center = share @ w
    squares = (share[part] @ (w[part] - center) ** 2 for part in blocks(len(w)))
    scale = np.sqrt(sum(squares, np.zeros(w.shape[1])))
    return center, np.where(scale > 1e-9 * (1 + np.abs(center)), scale, np.inf)
