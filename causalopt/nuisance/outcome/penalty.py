"""Ridge regression whose penalties are chosen by held-out loss, from the sums of squares of each fold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.lapack import dposv

from causalopt.typing import Float64, Int64

DROPPED = 1e8
"""A penalty so large that its columns are out of the regression."""
TEXT = (*(10.0 ** np.arange(-4.0, 2.0, 0.5)).tolist(), DROPPED)
READER = (1e-6, 1e-4, 1e-2, 1.0)
PRODUCT = (DROPPED, *(10.0 ** np.arange(-2.0, 2.5, 0.5)).tolist())
ANISOTROPY = (0.0, 0.5, 1.0)
SWEEPS = 2


@dataclass(frozen=True)
class Penalty:
    """Penalties as pseudo-rows per row of data: 1 means that the prior counts as much as the data.

    Covariates have a penalty of their own, and a light one: shrunk as much as the many weak coordinates of a text
    they would leave confounding behind.

    Attributes
    ----------
    text, reader, product:
        Of the three blocks of columns.
    anisotropy:
        0 penalises whitened coordinates alike; 1 penalises in proportion to 1 / variance, as a ridge on the raw
        embedding does.
    """

    text: float = 0.1
    reader: float = 1e-4
    product: float = DROPPED
    anisotropy: float = 0.5

    def vector(self, block: Int64, variance: Float64) -> Float64:
        """Return the penalty of each column, shape [p]."""
        factors = np.array([self.text, self.reader, self.product])
        return factors[block] * variance**-self.anisotropy


NOTHING = Penalty(DROPPED, DROPPED, DROPPED, 0.0)
"""Leaves the constant alone."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the rows of one fold, with a leading constant column: Z'AZ, Z'Ay, y'Ay for weights A."""

    zz: Float64
    zy: Float64
    yy: float
    total: float

    @classmethod
    def of(cls, z: Float64, y: Float64, weight: Float64) -> Moments:
        """Sum over rows; ``z`` [n, p] has no constant column."""
        constant = np.column_stack([np.ones(len(z)), z])
        weighted = constant * weight[:, None]
        return cls(weighted.T @ constant, weighted.T @ y, float(weight @ y**2), float(weight.sum()))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.zz + other.zz, self.zy + other.zy, self.yy + other.yy, self.total + other.total)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.zz - other.zz, self.zy - other.zy, self.yy - other.yy, self.total - other.total)

    def solve(self, penalty: Float64) -> Float64:
        """Coefficients with the constant first, shape [1 + p]; the constant is not penalised."""
        # A pseudo-row of 1e-9 keeps the system positive definite where columns repeat each other.
        added = self.total * np.concatenate([[0.0], penalty]) + 1e-9 * self.total
        matrix = self.zz.copy()
        np.einsum("ii->i", matrix)[...] += added
        # Some hundred small systems are solved for each fit: the routine itself, without the checks around it.
        _, solution, failed = dposv(matrix, self.zy, lower=1)
        return np.asarray(np.linalg.lstsq(matrix, self.zy)[0] if failed else solution, dtype=np.float64)

    def loss(self, coefficients: Float64) -> float:
        """Weighted sum of squared errors."""
        return self.yy - 2 * float(coefficients @ self.zy) + float(coefficients @ self.zz @ coefficients)


@dataclass(frozen=True, eq=False)
class Split:
    """Sums over the rows of an inner training part and of the part that it leaves out, in the columns of the former.

    ``block`` and ``variance`` describe these columns, see `Penalty.vector`. What is learned of the rows, their
    principal coordinates above all, must be learned of the training part alone: with the rows left out among them, no
    direction of those is new, and a fit that goes wild on new directions is not seen to do so.
    """

    fitted: Moments
    left_out: Moments
    block: Int64
    variance: Float64

    def solve(self, penalty: Penalty) -> Float64:
        """Coefficients of the training part, shape [1 + p]."""
        return self.fitted.solve(penalty.vector(self.block, self.variance))

    def loss(self, penalty: Penalty) -> float:
        """Weighted sum of squared errors on the part left out."""
        return self.left_out.loss(self.solve(penalty))


def choose_penalty(splits: list[Split]) -> tuple[Penalty, float]:
    """Search the penalties one after another, twice, for the smallest held-out loss.

    Parameters
    ----------
    splits:
        Each row is left out by one of them.

    Returns
    -------
    penalty, loss:
        The best, and its held-out mean squared error, squared outcome units.
    """
    total = sum(split.left_out.total for split in splits)
    known: dict[Penalty, float] = {}

    def held_out(penalty: Penalty) -> float:
        if penalty not in known:
            known[penalty] = sum(split.loss(penalty) for split in splits) / total
        return known[penalty]

    grids = [("text", TEXT, 0), ("product", PRODUCT, 2), ("anisotropy", ANISOTROPY, 0), ("reader", READER, 1)]
    best = Penalty()
    for _ in range(SWEEPS):
        for field, grid, needs in grids:
            if any((split.block == needs).any() for split in splits):
                best = min([best, *(replace(best, **{field: value}) for value in grid)], key=held_out)
    return best, held_out(best)
