"""Reduced-rank Gaussian regression of the text on the reader: a few directions, each with predictive power."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from causalopt.typing import Float64

PENALTIES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties of the regression, in pseudo-rows per row of data."""
SHRINKAGES = (0.0, 0.1, 0.3)
"""Shrinkage of the residual covariance toward a multiple of the identity."""
UNFORESEEN = 0.01
"""Smallest share of a direction's variance that is assumed not to be predicted by the covariates."""
NEGLIGIBLE = 1e-9
"""Added to each penalty, so that collinear covariates leave the regression defined."""
WHITENED = 1e-9
"""Largest distance from one of a variance that counts as one."""
CONSTANT = 1e-13
"""Variance of covariates along a direction, as a share of the largest, that may be rounding."""
ROUNDING = 1e-10
"""Nats per row that are no reason to prefer one setting to another."""
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
    def of(cls, u: Float64, phi: Float64, weight: Float64, texts: Float64 | None = None) -> Self:
        """Sum over rows; ``texts`` is U'AU if it is known."""
        return cls.of_parts([(u, phi, weight)], texts)

    @classmethod
    def of_parts(cls, parts: Iterable[tuple[Float64, Float64, Float64]], texts: Float64 | None = None) -> Self:
        """Sum over rows, of which ``parts`` are blocks of u, phi and weight."""
        sums: list[Any] = [0.0] * 4
        for u, phi, weight in parts:
            constant = np.column_stack([np.ones(len(phi)), phi])
            weighted = constant * weight[:, None]
            squares = weighted_squares(u, weight) if texts is None else 0.0
            new = weighted.T @ constant, weighted.T @ u, squares, float(weight.sum())
            sums = [known + part for known, part in zip(sums, new, strict=True)]
        features, cross, squares, total = sums
        return cls(features, cross, squares if texts is None else texts, total)


def weighted_squares(u: Float64, weight: Float64) -> Float64:
    """U'AU; a matrix times its own transpose is half the work of any other product."""
    rooted = u * np.sqrt(weight)[:, None]
    return np.asarray(rooted.T @ rooted)


@dataclass(frozen=True, eq=False)
class CanonicalPairs:
    """Directions of text, most informative first, in which z_j = text_j' u is N(B_j' (phi - mean phi), 1) given phi.

    Given the reader, the z_j are independent. They are the canonical variates of a multivariate regression
    (Izenman 1975); the leading ones are its maximum-likelihood fit at that rank. Leading dimensions, written as dots,
    are those of the settings that the directions were found for.

    Attributes
    ----------
    text:
        Shape [..., k, j], a column for each direction, in the basis of `RegressionPath.basis`.
    spread:
        Variance of the mean of z_j over readers, shape [..., j]: over all readers, z_j has variance 1 + spread_j.
    """

    text: Float64
    spread: Float64

    @classmethod
    def of(
        cls, fitted: Float64, residual: Float64, unpredicted: int, shrinkages: tuple[float, ...], count: int
    ) -> Self:
        """Rotate texts, whitened by the residual covariance, to the directions that vary most with the reader.

        Parameters
        ----------
        fitted, residual:
            Covariances of the fitted values and of the residuals, shape [..., k, k].
        unpredicted:
            Number of directions outside of the basis, in which the residual covariance is the identity.
        shrinkages:
            Shrinkages of the residual covariance, which become the dimension after the leading ones.
        count:
            Largest number of directions: the rank of ``fitted``.
        """
        variances, axes = np.linalg.eigh(residual)
        mean = (variances.sum(axis=-1, keepdims=True) + unpredicted) / (variances.shape[-1] + unpredicted)
        of_shrinkages = [shrunk(variances, mean, shrinkage) for shrinkage in shrinkages]
        whiten = axes[..., None, :, :] / np.sqrt(np.stack(of_shrinkages, axis=-2))[..., None, :]
        # The means of whitened texts have variances text_j' fitted text_j; eigenvalues come smallest first.
        spread, rotation = np.linalg.eigh(np.swapaxes(whiten, -1, -2) @ fitted[..., None, :, :] @ whiten)
        spread, rotation = spread[..., ::-1][..., :count], rotation[..., ::-1][..., :count]
        return cls(whiten @ rotation, np.maximum(spread, 0.0))

    def gains(self, texts: Float64, residual: Float64, total: float) -> Float64:
        """Sum over rows of log N(z_j; B_j' (phi - mean phi), 1) - log N(z_j; 0, 1 + spread_j), shape [..., j], nats.

        ``texts`` and ``residual`` are the sums of the rows' u u' and of their residuals' products, in the same basis.
        """
        about_center, conditional = (np.sum(self.text * (form @ self.text), axis=-2) for form in (texts, residual))
        return np.asarray(0.5 * (total * np.log1p(self.spread) + about_center / (1 + self.spread) - conditional))


@dataclass(frozen=True, eq=False)
class RegressionPath:
    """Ridge regressions of u on phi for every penalty at once, from one eigendecomposition of the covariance of phi.

    The slopes of a penalty are axes diag(1 / (variance + penalty)) loadings. The coordinates u must have mean zero over
    the rows of the moments. Since they are whitened (see `PrincipalCoordinates`), the residual covariance is the
    identity except in the directions that vary with phi, at most f of them, and in those few of negligible variance
    whose whitening is not exact: no larger matrix needs an eigendecomposition. Products of dummies are collinear, so
    that phi varies in fewer than f directions, and only these are kept.

    Attributes
    ----------
    mean, variance, axes:
        Mean of phi, and the eigenvalues and eigenvectors of its covariance, shapes [f], [a] and [f, a].
    loadings:
        Covariances of axes' phi with u, shape [a, q].
    excess:
        Covariance of u less the identity, shape [q, q].
    """

    mean: Float64
    variance: Float64
    axes: Float64
    loadings: Float64
    excess: Float64

    @classmethod
    def of(cls, moments: RegressionMoments) -> Self:
        mean = moments.features[0, 1:] / moments.total
        covariance = moments.features[1:, 1:] / moments.total - np.outer(mean, mean)
        variance, axes = np.linalg.eigh(covariance)
        varies = variance > CONSTANT * variance[-1]
        varies[-1] = True  # a direction is needed even if all are constant
        variance, axes = variance[varies], axes[:, varies]
        cross = (moments.cross[1:] - np.outer(mean, moments.cross[0])) / moments.total
        excess = moments.texts / moments.total - np.eye(len(moments.texts))
        return cls(mean, np.maximum(variance, 0.0), axes, axes.T @ cross, excess)

    def basis(self, coordinates: int) -> Float64:
        """Orthonormal basis of the leading coordinates' directions that need one, shape [coordinates, k].

        Orthogonal to it, the residual covariance is the identity.
        """
        spanning = self.loadings[:, :coordinates].T
        excess = self.excess[:coordinates, :coordinates]
        if np.abs(excess).max() > WHITENED:
            variance, axes = np.linalg.eigh(excess)
            spanning = np.hstack([spanning, axes[:, np.abs(variance) > WHITENED]])
        return np.asarray(np.linalg.qr(spanning)[0])

    def slopes(self, basis: Float64, penalties: tuple[float, ...]) -> Float64:
        """Slopes of basis' u on axes' (phi - mean), shape [penalties, a, k]."""
        added = np.array(penalties) + NEGLIGIBLE
        return (self.loadings[:, : len(basis)] @ basis) / (self.variance + added[:, None])[:, :, None]

    def pairs(
        self, basis: Float64, penalties: tuple[float, ...], shrinkages: tuple[float, ...]
    ) -> tuple[CanonicalPairs, Float64]:
        """Canonical pairs of all settings, with leading dimensions [penalties, shrinkages], and `slopes`."""
        slopes = self.slopes(basis, penalties)
        across = np.swapaxes(slopes, -1, -2)
        fitted = across @ (self.variance[:, None] * slopes)
        explained = across @ (self.loadings[:, : len(basis)] @ basis)
        texts = np.eye(basis.shape[1]) + basis.T @ self.excess[: len(basis), : len(basis)] @ basis
        residual = texts - explained - np.swapaxes(explained, -1, -2) + fitted
        count = min(len(self.variance), basis.shape[1])
        return CanonicalPairs.of(fitted, residual, len(basis) - basis.shape[1], shrinkages, count), slopes

    def gains(self, held_out: RegressionMoments, coordinates: int) -> Float64:
        """Held-out gain of each rank, summed over rows, shape [`PENALTIES`, `SHRINKAGES`, largest rank], nats."""
        basis = self.basis(coordinates)
        pairs, slopes = self.pairs(basis, PENALTIES, SHRINKAGES)
        # Held-out sums in the basis, about the mean of the fitted rows: of u u', axes' phi u' and axes' phi phi' axes.
        texts = basis.T @ held_out.texts[:coordinates, :coordinates] @ basis
        sums, mean = held_out.features[0, 1:], self.mean
        shifted = np.outer(mean, sums)
        features = held_out.features[1:, 1:] - shifted - shifted.T + held_out.total * np.outer(mean, mean)
        features = self.axes.T @ features @ self.axes
        cross = self.axes.T @ (held_out.cross[1:] - np.outer(mean, held_out.cross[0]))[:, :coordinates] @ basis
        across = np.swapaxes(slopes, -1, -2)
        explained = across @ cross
        residual = texts - explained - np.swapaxes(explained, -1, -2) + across @ features @ slopes
        gains = np.cumsum(pairs.gains(texts, residual[:, None], held_out.total), axis=-1)
        constant = min(len(mean), len(basis)) - gains.shape[-1]  # directions that do not vary with phi add nothing
        return np.pad(gains, [(0, 0), (0, 0), (0, constant)], mode="edge")

    def slope(self, settings: CanonicalSettings) -> Float64:
        """Return S for all coordinates of u, shape [f, q]: phi' S u is their interaction in log p(u | phi)."""
        basis = self.basis(settings.coordinates)
        pairs, slopes = self.pairs(basis, (settings.penalty,), (settings.shrinkage,))
        text = pairs.text[0, 0][:, : settings.rank]
        full = np.zeros((len(self.mean), self.loadings.shape[1]))
        full[:, : settings.coordinates] = (self.axes @ slopes[0] @ text) @ (basis @ text).T
        return full


@dataclass(frozen=True)
class CanonicalSettings:
    """The settings chosen by `choose_settings`."""

    coordinates: int
    rank: int
    penalty: float
    shrinkage: float


@dataclass(frozen=True, eq=False)
class RegressionSplit:
    """Moments of an inner training part and of its held-out part, in coordinates learned from the former alone."""

    fitted: RegressionMoments
    left_out: RegressionMoments


def choose_settings(splits: list[RegressionSplit]) -> tuple[CanonicalSettings, float]:
    """Choose coordinates, penalty, shrinkage and rank by the held-out likelihood ratio of covariates against none.

    Of settings that are equally good up to rounding, the first is taken: fewer coordinates, then a smaller penalty, a
    smaller shrinkage and a lower rank.

    Returns
    -------
    settings, gain:
        ``gain`` is the held-out mean of log p(u | phi) - log p(u) under the Gaussian fit, nats per row; negative if
        the covariates do not help to predict the text at any rank.
    """
    total = sum(split.left_out.total for split in splits)
    paths = [RegressionPath.of(split.fitted) for split in splits]
    r = max(path.loadings.shape[1] for path in paths)
    best = (CanonicalSettings(r, 1, 1.0, 0.0), -np.inf)
    for coordinates in sorted({min(q, r) for q in (*COORDINATES, r)}):
        gains = [path.gains(split.left_out, coordinates) for path, split in zip(paths, splits, strict=True)]
        ranks = min(gain.shape[-1] for gain in gains)  # a training part may have fewer directions than another
        mean = np.sum([gain[..., :ranks] for gain in gains], axis=0) / total
        largest = float(mean.max())
        if largest > best[1] + ROUNDING:
            i, j, k = np.argwhere(mean >= largest - ROUNDING)[0]
            best = (CanonicalSettings(coordinates, int(k) + 1, PENALTIES[i], SHRINKAGES[j]), float(mean[i, j, k]))
    return best


def shrunk(eigenvalues: Float64, mean: Float64, shrinkage: float) -> Float64:
    """Eigenvalues of a residual covariance, shrunk toward the mean of all of them (Ledoit and Wolf 2004).

    The coordinates have variance one, so that an eigenvalue is the share that is not predicted. It is kept above one
    percent: if texts determine their reader (a positivity violation), no data can identify their ratio.
    """
    return np.maximum((1 - shrinkage) * eigenvalues + shrinkage * mean, UNFORESEEN)
