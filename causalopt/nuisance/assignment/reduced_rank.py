"""Reduced-rank Gaussian regression of the text on the reader: a few directions, each with predictive power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.typing import Float64

PENALTIES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties of the regression, in pseudo-rows per row of data."""
SHRINKAGES = (0.0, 0.1, 0.3)
"""Shrinkage of the residual covariance toward a multiple of the identity."""
UNFORESEEN = 0.01
"""Smallest share of a direction's variance that is assumed not to be predicted by the covariates."""
COORDINATES = (4, 8, 16, 32, 64, 128)
"""Numbers of leading principal coordinates that are tried, in addition to all of them."""


@dataclass(frozen=True, eq=False)
class RegressionMoments:
    """Weighted sums for the regression of u on phi (with a leading constant): F'AF, F'AU, U'AU and the total of A."""

    features: Float64
    cross: Float64
    texts: Float64
    total: float

    @classmethod
    def of(cls, u: Float64, phi: Float64, weight: Float64) -> Self:
        """Sum over rows."""
        constant = np.column_stack([np.ones(len(phi)), phi])
        weighted = constant * weight[:, None]
        return cls(weighted.T @ constant, weighted.T @ u, (u * weight[:, None]).T @ u, float(weight.sum()))

    def __add__(self, other: RegressionMoments) -> RegressionMoments:
        return RegressionMoments(
            self.features + other.features,
            self.cross + other.cross,
            self.texts + other.texts,
            self.total + other.total,
        )

    def __sub__(self, other: RegressionMoments) -> RegressionMoments:
        return RegressionMoments(
            self.features - other.features,
            self.cross - other.cross,
            self.texts - other.texts,
            self.total - other.total,
        )

    def leading(self, coordinates: int) -> RegressionMoments:
        """Return the moments of only the first ``coordinates`` of u."""
        cross, texts = self.cross[:, :coordinates], self.texts[:coordinates, :coordinates]
        return RegressionMoments(self.features, cross, texts, self.total)


@dataclass(frozen=True, eq=False)
class CanonicalPairs:
    """Directions of text and reader, most informative first, in which z_j = text_j' u is N(reader_j' [1, phi], 1).

    Given the reader, the z_j are independent. They are the canonical variates of a multivariate regression
    (Izenman 1975); the leading ones are its maximum-likelihood fit at that rank.

    Attributes
    ----------
    text:
        Shape [q, k].
    reader:
        Shape [1 + f, k], the constant first.
    center, spread:
        Mean and variance of reader_j' [1, phi] over readers, shape [k]: z_j has that mean, and variance 1 + spread_j.
    """

    text: Float64
    reader: Float64
    center: Float64
    spread: Float64

    def gains(self, held_out: RegressionMoments) -> Float64:
        """Sum over held-out rows of log N(z_j; reader_j' phi, 1) - log N(z_j; mean, 1 + spread_j), shape [k], nats."""
        squares = np.sum(self.text * (held_out.texts @ self.text), axis=0)
        products = np.sum(self.reader * (held_out.cross @ self.text), axis=0)
        fitted = np.sum(self.reader * (held_out.features @ self.reader), axis=0)
        about_center = squares - 2 * self.center * (held_out.cross[0] @ self.text) + held_out.total * self.center**2
        conditional = squares - 2 * products + fitted
        # Given the reader, z_j is N(fitted, 1); over all readers it is N(center, 1 + spread).
        return np.asarray(
            0.5 * (held_out.total * np.log1p(self.spread) + about_center / (1 + self.spread) - conditional)
        )

    def slope(self, rank: int) -> Float64:
        """Return S, shape [f, q]: phi' S u is the interaction of text and reader in log p(u | phi)."""
        return np.asarray(self.reader[1:, :rank] @ self.text[:, :rank].T)


@dataclass(frozen=True, eq=False)
class MultivariateRegression:
    """Ridge regression of u on phi, with the quantities that all shrinkages of its residual covariance share.

    Attributes
    ----------
    coefficients:
        B with the constant first, shape [1 + f, q].
    variances, axes:
        Eigenvalues and eigenvectors of the residual covariance, shapes [q] and [q, q].
    mean, root:
        Mean of [1, phi], shape [1 + f], and R with R'R its covariance, shape [1 + f, 1 + f].
    """

    coefficients: Float64
    variances: Float64
    axes: Float64
    mean: Float64
    root: Float64

    @classmethod
    def of(cls, moments: RegressionMoments, penalty: float) -> Self:
        """Fit with a ridge penalty, in pseudo-rows per row of data."""
        added = np.full(len(moments.features), (penalty + 1e-9) * moments.total)
        added[0] = 1e-12 * moments.total  # the constant is not penalised
        coefficients = np.linalg.solve(moments.features + np.diag(added), moments.cross)
        # (U - F B)' A (U - F B), computed from the sums.
        both = coefficients.T @ moments.cross
        residual = moments.texts - both - both.T + coefficients.T @ moments.features @ coefficients
        variances, axes = np.linalg.eigh(residual / moments.total)
        mean = moments.features[0] / moments.total
        spread, directions = np.linalg.eigh(moments.features / moments.total - np.outer(mean, mean))
        root = np.sqrt(np.maximum(spread, 0.0))[:, None] * directions.T
        return cls(np.asarray(coefficients, dtype=np.float64), variances, axes, mean, root)

    def pairs(self, shrinkage: float) -> CanonicalPairs:
        """Rotate texts, whitened by the residual covariance, to the directions that vary most with the reader."""
        whiten = self.axes / np.sqrt(shrunk(self.variances, shrinkage))
        scaled = self.coefficients @ whiten
        # The variances of phi'B' over readers are the squared singular values of R B: phi has fewer columns than u.
        _, spread, rotation = np.linalg.svd(self.root @ scaled, full_matrices=False)
        count = min(len(self.coefficients) - 1, len(spread))
        rotation = rotation[:count].T
        reader = scaled @ rotation
        return CanonicalPairs(whiten @ rotation, reader, self.mean @ reader, spread[:count] ** 2)


@dataclass(frozen=True)
class CanonicalSettings:
    """The settings chosen by `choose_settings`."""

    coordinates: int
    rank: int
    penalty: float
    shrinkage: float

    def slope(self, moments: RegressionMoments) -> Float64:
        """Fit and return S for all coordinates of u, shape [f, r]."""
        pairs = MultivariateRegression.of(moments.leading(self.coordinates), self.penalty).pairs(self.shrinkage)
        full = np.zeros((len(moments.features) - 1, moments.cross.shape[1]))
        full[:, : self.coordinates] = pairs.slope(self.rank)
        return full


@dataclass(frozen=True, eq=False)
class RegressionSplit:
    """Moments of an inner training part and of its held-out part, in coordinates learned from the former alone."""

    fitted: RegressionMoments
    left_out: RegressionMoments

    def gains(self, coordinates: int, penalty: float) -> list[Float64]:
        """Held-out gain of each rank from 1 to the largest, for each of `SHRINKAGES`; see `CanonicalPairs.gains`."""
        regression = MultivariateRegression.of(self.fitted.leading(coordinates), penalty)
        left_out = self.left_out.leading(coordinates)
        return [np.cumsum(regression.pairs(shrinkage).gains(left_out)) for shrinkage in SHRINKAGES]


def choose_settings(splits: list[RegressionSplit]) -> tuple[CanonicalSettings, float]:
    """Choose coordinates, penalty, shrinkage and rank by the held-out likelihood ratio of covariates against none.

    Returns
    -------
    settings, gain:
        ``gain`` is the held-out mean of log p(u | phi) - log p(u) under the Gaussian fit, nats per row; negative if
        the covariates do not help to predict the text at any rank.
    """
    total = sum(split.left_out.total for split in splits)
    r = max(split.fitted.cross.shape[1] for split in splits)
    best = (CanonicalSettings(r, 1, 1.0, 0.0), -np.inf)
    for coordinates in sorted({min(q, r) for q in (*COORDINATES, r)}):
        for penalty in PENALTIES:
            of_splits = [split.gains(coordinates, penalty) for split in splits]
            for shrinkage, *gains in zip(SHRINKAGES, *of_splits, strict=True):
                ranks = min(len(gain) for gain in gains)  # a training part may have fewer directions than another
                by_rank = np.sum([gain[:ranks] for gain in gains], axis=0) / total
                rank = int(np.argmax(by_rank)) + 1
                if by_rank[rank - 1] > best[1]:
                    best = (CanonicalSettings(coordinates, rank, penalty, shrinkage), float(by_rank[rank - 1]))
    return best


def shrunk(eigenvalues: Float64, shrinkage: float) -> Float64:
    """Eigenvalues of a residual covariance, shrunk toward their mean (Ledoit and Wolf 2004).

    The coordinates have variance one, so that an eigenvalue is the share that is not predicted. It is kept above one
    percent: if texts determine their reader (a positivity violation), no data can identify their ratio.
    """
    mean = float(eigenvalues.mean())
    return np.maximum((1 - shrinkage) * eigenvalues + shrinkage * mean, UNFORESEEN)
