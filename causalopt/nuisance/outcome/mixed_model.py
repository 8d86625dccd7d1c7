"""A linear mixed model with an effect of each text: its restricted likelihood, and the posterior of any text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from causalopt.typing import Array, Float64, Int64

SMALLEST, LARGEST = 1e-6, 1e4
"""Bounds of a variance component, as a multiple of the noise variance; the smaller one stands for zero."""
STARTS = (0.1, 0.001)
"""Values, of the effect of each text and of the other components in turn, from which the likelihood is climbed."""
ROUNDING, SMALLEST_SUM = 1e-12, 1e-100
"""Smallest residual sum of squares, as a share of that of the outcomes, and at all: its logarithm is finite."""
COARSE, FINE = 47, 15
"""Nodes at which the posterior of the texts' variance is searched for its support, and integrated over that."""
NATS = 10.0
"""Log-density below the largest one from which on the posterior of the texts' variance is left out."""


@dataclass(frozen=True, eq=False)
class Components:
    """Variances as multiples of the noise variance: of the effect of a text, and of each coefficient, shape [p]."""

    text: float
    coefficient: Float64


@dataclass(frozen=True, eq=False)
class TextSums:
    """What the likelihood needs of n rows: sums over all of them, and over the rows of each of t texts.

    Attributes
    ----------
    zz, zy, yy:
        Z'AZ, Z'Ay and y'Ay for columns Z, the first of them constant, and exposures A.
    exposure, z, y:
        Sums of a, a z and a y over the rows of each text, shapes [t], [t, 1 + p] and [t].
    rows:
        Number of rows with a positive exposure.
    """

    zz: Float64
    zy: Float64
    yy: float
    exposure: Float64
    z: Float64
    y: Float64
    rows: int

    @classmethod
    def of(cls, z: Float64, y: Float64, weight: Float64, text: Int64) -> Self:
        """Sum over rows; ``z`` [n, p] has no constant column, ``text`` [n] counts the texts from 0."""
        constant = np.column_stack([np.ones(len(z)), z])
        weighted = constant * weight[:, None]
        of_text = np.zeros((int(text.max()) + 1, constant.shape[1]))
        np.add.at(of_text, text, weighted)
        y_of_text = np.bincount(text, weights=weight * y).astype(np.float64)
        rows = int(np.count_nonzero(weight > 0))
        return cls(weighted.T @ constant, weighted.T @ y, float(weight @ y**2), of_text[:, 0], of_text, y_of_text, rows)

    def shrinkage(self, text: float) -> Float64:
        """h_t = v n_t / (1 + v n_t): share of a text's mean residual that is its effect, shape [t]."""
        return text * self.exposure / (1 + text * self.exposure)

    def solve(self, components: Components) -> tuple[tuple[Array, bool], Float64, float]:
        """Cholesky factor of the coefficients' precision [1 + p], their posterior mean, and the residual sum."""
        # With b ~ N(0, v) for each text, y - Z beta has the covariance V = A^-1 + v T T' in units of the noise's, T the
        # indicators of the texts. By Woodbury V^-1 = A - A T diag(v / (1 + v n_t)) T' A: no n x n matrix.
        # beta ~ N(0, coefficient), the constant flat: its posterior precision is Z'V^-1 Z + diag(1 / coefficient).
        part = components.text / (1 + components.text * self.exposure)
        precision = self.zz - (self.z * part[:, None]).T @ self.z
        precision[1:, 1:] += np.diag(1 / components.coefficient)
        zy = self.zy - self.z.T @ (part * self.y)
        factor = cho_factor(precision, lower=True)
        mean = np.asarray(cho_solve(factor, zy), dtype=np.float64)
        rest = self.yy - float(part @ self.y**2) - float(zy @ mean)
        return factor, mean, max(rest, ROUNDING * self.yy, SMALLEST_SUM)

    def deviance(self, components: Components) -> float:
        """-2 log of the restricted likelihood, with the noise variance maximised out, up to a constant.

        log |V| + log |diag(coefficient)| + log |Z'V^-1 Z + diag(1 / coefficient)| + (n - 1) log of the residual sum
        (Patterson and Thompson 1971; Harville 1977, section 3, in the form of Henderson's equations).
        """
        factor, _, rest = self.solve(components)
        return self._deviance(components, factor, rest)

    def _deviance(self, components: Components, factor: tuple[Array, bool], rest: float) -> float:
        of_texts = np.sum(np.log1p(components.text * self.exposure)) + np.sum(np.log(components.coefficient))
        return float(of_texts + 2 * np.sum(np.log(np.diag(factor[0]))) + (self.rows - 1) * np.log(rest))

    def deviance_and_slopes(self, components: Components) -> tuple[float, float, Float64]:
        """Return the deviance, and its derivatives by the texts' variance and by that of each coefficient [p]."""
        factor, mean, rest = self.solve(components)
        # d log |M| = tr(M^-1 dM), and the residual sum, a minimum over beta, changes by its own derivative alone.
        inverse = cho_solve(factor, np.eye(len(mean)))
        part = 1 / (1 + components.text * self.exposure)
        lever = np.einsum("tj,tj->t", self.z @ inverse, self.z)
        left = self.y - self.z @ mean
        by_text = np.sum(self.exposure * part) - np.sum(part**2 * (lever + (self.rows - 1) / rest * left**2))
        size = np.diag(inverse)[1:] + (self.rows - 1) / rest * mean[1:] ** 2
        value = self._deviance(components, factor, rest)
        return value, float(by_text), (1 - size / components.coefficient) / components.coefficient


def restricted_maximum_likelihood(sums: TextSums, share: Float64, fixed: Float64, repeated: bool) -> Components:
    """Variance components that maximise the restricted likelihood.

    Parameters
    ----------
    sums:
        Of the rows, with exposures whose mean is about one and outcomes whose variance is about one.
    share:
        Variance of each coefficient as a multiple of each of k unknown components, shape [k, p].
    fixed:
        What is added to it, known, shape [p].
    repeated:
        Whether the effect of a text can be told from noise; if not, it is left out.
    """
    k = len(share)

    def components(log: Float64) -> Components:
        text = float(np.exp(log[0])) if repeated else 0.0
        return Components(text, np.exp(log[1:]) @ share + fixed)

    if not (repeated or k):
        return components(np.zeros(1))

    def objective(log: Float64) -> tuple[float, Float64]:
        at = components(log)
        value, by_text, by_coefficient = sums.deviance_and_slopes(at)
        # By the chain rule, for logarithms.
        return value, np.append(at.text * by_text, np.exp(log[1:]) * (share @ by_coefficient))

    found = [
        minimize(
            objective,
            np.log(np.array([start, *[other] * k])),
            jac=True,
            method="L-BFGS-B",
            bounds=[(np.log(SMALLEST), np.log(LARGEST))] * (1 + k),
        )
        for start, other in (STARTS, STARTS[::-1])
    ]
    return components(min(found, key=lambda one: float(one.fun)).x)


@dataclass(frozen=True, eq=False)
class Given:
    """The posterior of coefficients and effects of texts, given the variance components.

    Attributes
    ----------
    sums, components:
        Rows and variance components that it was fitted with.
    factor:
        Cholesky factor of the posterior precision of the coefficients, in units of 1 / noise.
    coefficients:
        Posterior mean, shape [1 + p], the constant first.
    effect:
        Posterior mean of the effect of each text, shape [t].
    noise:
        Variance of the outcome in a row of exposure one, given the coefficients and effects.
    """

    sums: TextSums
    components: Components
    factor: tuple[Array, bool]
    coefficients: Float64
    effect: Float64
    noise: float

    @classmethod
    def of(cls, sums: TextSums, components: Components) -> Self:
        """Compute the posterior."""
        factor, coefficients, rest = sums.solve(components)
        # E[b_t | beta, y] = h_t times the mean residual of the text (Robinson 1991, "That BLUP is a good thing").
        known = np.where(sums.exposure > 0, sums.exposure, 1.0)
        effect = sums.shrinkage(components.text) * (sums.y - sums.z @ coefficients) / known
        return cls(sums, components, factor, coefficients, effect, rest / max(sums.rows - 1, 1))

    def mean(self, z: Float64, text: Int64) -> Float64:
        """Posterior mean of ``[1, z_k]'beta + b_k``, shape [k]; ``text`` as in `covariance`."""
        effect = np.where(text >= 0, self.effect[text], 0.0)
        return np.asarray(np.column_stack([np.ones(len(z)), z]) @ self.coefficients + effect, dtype=np.float64)

    def covariance(self, z: Float64, text: Int64) -> Float64:
        """Posterior covariance of ``[1, z_k]'beta + b_k`` for k texts, shape [k, k].

        ``text`` [k] is the number of each text, -1 for one that has no rows.
        """
        known = text >= 0
        at = np.where(known, text, 0)
        exposure = np.where(known, self.sums.exposure[at], 0.0)
        share = np.where(known, self.sums.shrinkage(self.components.text)[at], 0.0)
        mean = self.sums.z[at] / np.where(exposure > 0, exposure, 1.0)[:, None]
        # b_k given beta is h_k (ybar_k - zbar_k'beta) + N(0, v / (1 + v n_k)), so that beta enters the value of a text
        # through z_k - h_k zbar_k: not at all, for a text with many rows at these very columns.
        enters = np.column_stack([np.ones(len(z)), z]) - share[:, None] * mean
        own = self.components.text / (1 + self.components.text * exposure)
        same = np.where(known[:, None], text[:, None] == text, np.eye(len(text), dtype=bool))
        return np.asarray(self.noise * (enters @ cho_solve(self.factor, enters.T) + same * own), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class MixedModel:
    """The posterior of coefficients and effects of texts, integrated over the variance between texts.

    Attributes
    ----------
    given:
        Posteriors given each of some values of that variance; the other components are at their REML estimates.
    share:
        Posterior probability of each, shape [len(given)].
    """

    given: tuple[Given, ...]
    share: Float64

    @classmethod
    def fit(cls, sums: TextSums, share: Float64, fixed: Float64, repeated: bool) -> Self:
        """Fit a mixed model; parameters as in `restricted_maximum_likelihood`.

        REML often estimates the variance between few texts as zero, and posteriors given zero are far too narrow
        (Chung et al. 2013). It is therefore integrated over: the restricted likelihood times a half-Cauchy prior of
        the standard deviation between texts, whose median is that of the noise (Gelman 2006, section 4.3), at nodes of
        equal distance in its logarithm.
        """
        best = restricted_maximum_likelihood(sums, share, fixed, repeated)
        if not repeated:
            return cls((Given.of(sums, best),), np.ones(1))

        def log_density(log: Float64) -> Float64:
            # tau ~ 1 / (1 + tau^2), so that the density of log v, v = tau^2, is in proportion to sqrt(v) / (1 + v).
            deviance = np.array([sums.deviance(Components(float(v), best.coefficient)) for v in np.exp(log)])
            return np.asarray(-0.5 * deviance + 0.5 * log - np.log1p(np.exp(log)), dtype=np.float64)

        coarse = np.linspace(np.log(SMALLEST), np.log(LARGEST), COARSE)
        density = log_density(coarse)
        support = coarse[density > density.max() - NATS]
        step = coarse[1] - coarse[0]
        nodes = np.linspace(support[0] - step / 2, support[-1] + step / 2, FINE)
        density = log_density(nodes)
        of_node = np.exp(density - density.max())
        given = tuple(Given.of(sums, Components(float(v), best.coefficient)) for v in np.exp(nodes))
        return cls(given, of_node / of_node.sum())

    @property
    def coefficients(self) -> Float64:
        """Posterior mean, shape [1 + p], the constant first."""
        return self.share @ np.stack([one.coefficients for one in self.given])

    @property
    def effect(self) -> Float64:
        """Posterior mean of the effect of each text, shape [t]."""
        return self.share @ np.stack([one.effect for one in self.given])

    @property
    def noise(self) -> float:
        """Posterior mean of the noise variance."""
        return float(self.share @ [one.noise for one in self.given])

    @property
    def between(self) -> float:
        """Posterior mean of the variance between texts."""
        return float(self.share @ [one.components.text * one.noise for one in self.given])

    def covariance(self, z: Float64, text: Int64) -> Float64:
        """Posterior covariance of the values of k texts, shape [k, k], as in `Given.covariance`."""
        # The law of total variance: the mean of the covariances, and the covariance of the means.
        means = np.stack([one.mean(z, text) for one in self.given])
        apart = means - self.share @ means
        within = sum(part * one.covariance(z, text) for part, one in zip(self.share, self.given, strict=True))
        return np.asarray(within + (apart * self.share[:, None]).T @ apart, dtype=np.float64)
