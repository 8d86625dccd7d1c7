"""Embeddings in principal coordinates: what every model that is linear in the text works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.typing import Array, Float64

ROUNDING = 1e-6
"""Directions with less than this share of the largest variance are taken for rounding, and left out: a share of the raw
variance where that keeps all, of the variance in standard units of each column where it does not."""
CONSTANT = 1e-13
"""Squared size of rounding: a column whose variance is below this share of its squared mean is taken for constant."""


@dataclass(frozen=True, eq=False)
class PrincipalCoordinates:
    """Whitened principal coordinates: weighted mean zero and identity covariance over the rows they were made from.

    Collinear and constant columns, and more columns than rows, leave fewer coordinates and no singular matrix. Columns
    of unlike units (a length of thousands beside a 0/1) all stay: how many coordinates there are is judged by the
    columns' correlations.

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
    def of(cls, x: Array, weight: Float64) -> Self:
        """Find the coordinates of ``x`` [n, d] under ``weight`` [n]."""
        share = weight / weight.sum()
        x = np.asarray(x, dtype=np.float64)
        center = share @ x
        scaled = (x - center) * np.sqrt(share)[:, None]
        spread = np.sqrt(np.sum(scaled**2, axis=0))
        varies = spread**2 > CONSTANT * center**2
        scaled[:, ~varies] = 0.0
        variance, directions = _principal(scaled)
        # Rounding of a constant column is relative to its size, not to the spread of the others.
        kept = variance > max(ROUNDING * variance.max(initial=0.0), CONSTANT * float(center @ center))
        if kept.sum() < min(len(x) - 1, varies.sum()):
            units = np.where(varies, spread, 1.0)
            correlation, axes = _principal(scaled / units)
            real = correlation > ROUNDING * correlation.max()
            if real.sum() > kept.sum():
                # A singular value of this product is exact to rounding of the largest; an eigenvalue of the covariance
                # is to the root of that, which may be more than a 0/1 beside a column of millions.
                product = np.sqrt(correlation[real])[:, None] * axes[:, real].T * units
                _, singular, transposed = np.linalg.svd(product, full_matrices=False)
                variance, directions, kept = singular**2, transposed.T, np.ones(len(singular), dtype=bool)
        variance = variance[kept]
        return cls(center, np.ascontiguousarray(directions[:, kept] / np.sqrt(variance)), variance)

    def transform(self, x: Array) -> Float64:
        """Return the coordinates of rows, shape [n, r]."""
        return np.asarray((np.asarray(x, dtype=np.float64) - self.center) @ self.directions)


def _principal(rows: Float64) -> tuple[Float64, Float64]:
    """Eigenvalues of rows' rows, largest first, and eigenvectors [d, min(n, d)]."""
    if len(rows) >= rows.shape[1]:
        variance, directions = np.linalg.eigh(rows.T @ rows)
        return variance[::-1], directions[:, ::-1]
    _, singular, transposed = np.linalg.svd(rows, full_matrices=False)
    return singular**2, transposed.T


def standardization(w: Array, weight: Float64) -> tuple[Float64, Float64]:
    """Weighted mean and standard deviation of each column, shape [p]; the deviation of a constant column is inf.

    Dividing by it makes a constant column zero, here and at any other value: nothing was learned about it.
    """
    share = weight / weight.sum()
    w = np.asarray(w, dtype=np.float64)
    center = share @ w
    scale = np.sqrt(share @ (w - center) ** 2)
    return center, np.where(scale > 1e-9 * (1 + np.abs(center)), scale, np.inf)
