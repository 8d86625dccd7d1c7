"""Nuisances with few parameters, right or wrong by what they may see, and fast enough for thousands of fits."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import logsumexp

from causalopt.simulation import FiniteWorld
from causalopt.typing import Array, Float64


class RightOutcome:
    """Least squares on the terms that the world's m really has: phi, phi_1 squared, w, and w_1 * phi_2.

    Each term is a function of x times a function of w, so that means over readers or over texts are exact.
    """

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        root = np.sqrt(weight)
        terms = root[:, None] * self._of_text(x) * self._of_reader(w)
        self.coefficients = np.linalg.lstsq(terms, root * y, rcond=None)[0]
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.asarray((self._of_text(x) * self._of_reader(w)) @ self.coefficients)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        mean = np.average(self._of_reader(w_reference), axis=0, weights=weight_reference)
        return np.asarray(self._of_text(x) @ (mean * self.coefficients))

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over the texts of m(x_j, w_i), shape [n]."""
        return np.asarray(self._of_reader(w) @ (self._of_text(x_draws).mean(axis=0) * self.coefficients))

    def _of_text(self, x: Array) -> Float64:
        return np.hstack([np.ones((len(x), 1)), x, x[:, :1] ** 2, np.ones((len(x), 2)), x[:, 1:2]])

    def _of_reader(self, w: Array) -> Float64:
        return np.hstack([np.ones((len(w), 6)), w, w[:, :1]])


class WrongOutcome(RightOutcome):
    """Least squares that takes m for linear in phi, and sees the confounder only as high or low."""

    def _of_text(self, x: Array) -> Float64:
        return np.hstack([np.ones((len(x), 1)), x, np.ones((len(x), 2))])

    def _of_reader(self, w: Array) -> Float64:
        return np.hstack([np.ones((len(w), 5)), np.sign(w[:, :1]), w[:, 1:]])


class RightAssignment:
    """Maximum likelihood for p(x | w) proportional to exp((u + w_1 v)' phi(x)) over the world's texts: the true family.

    The rows enter through their reader types alone (counts, and sums of phi), so that one Newton step costs types times
    texts, whatever the number of rows.
    """

    def __init__(self, world: FiniteWorld) -> None:
        self._phi = world.embedding
        d = self._phi.shape[1]
        self._squares = (self._phi[:, :, None] * self._phi[:, None, :]).reshape(len(self._phi), d * d)

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        level, row = np.unique(w[:, 0], return_inverse=True)
        count = np.bincount(row, weights=weight)
        sums = np.stack([np.bincount(row, weights=weight * column) for column in x.T], axis=1)
        d, basis = x.shape[1], np.stack([np.ones_like(level), level], axis=1)
        target = basis.T @ sums
        parameters = np.zeros((2, d))
        for _ in range(50):
            prob = np.exp(self._log_prob(level, parameters))
            mean = prob @ self._phi
            covariance = (prob @ self._squares).reshape(-1, d, d) - mean[:, :, None] * mean[:, None, :]
            gradient = target - basis.T @ (count[:, None] * mean)
            curvature = np.einsum("ra,rb,rij->aibj", count[:, None] * basis, basis, covariance).reshape(2 * d, 2 * d)
            step = np.linalg.solve(curvature, gradient.ravel()).reshape(2, d)
            parameters += step
            if np.abs(step).max() < 1e-8:
                break
        else:
            raise RuntimeError("Newton's method for the assignment did not converge")
        self.parameters, self._level, self._share = parameters, level, count / count.sum()
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        given = np.einsum("nd,nd->n", x, self._natural(w[:, 0])) - self._log_partition(w[:, 0])
        # The marginal is formed once for each text: no two texts have the same first coordinate.
        _, first, text = np.unique(x[:, 0], return_index=True, return_inverse=True)
        each = x[first] @ self._natural(self._level).T - self._log_partition(self._level)
        return np.asarray((np.exp(each) @ self._share)[text] * np.exp(-given))

    def _natural(self, level: Float64) -> Float64:
        return self.parameters[0] + level[:, None] * self.parameters[1]

    def _log_partition(self, level: Float64) -> Float64:
        distinct, row = np.unique(level, return_inverse=True)
        return np.asarray(logsumexp(self._natural(distinct) @ self._phi.T, axis=1)[row])

    def _log_prob(self, level: Float64, parameters: Float64) -> Float64:
        logits = (parameters[0] + level[:, None] * parameters[1]) @ self._phi.T
        return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True))


class WrongAssignment:
    """Takes the texts for randomised: it misses the confounder."""

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        return np.ones(len(x))
