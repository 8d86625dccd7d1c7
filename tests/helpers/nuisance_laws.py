"""Laws whose nuisances are known, written without the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal


@dataclass
class Law:
    x: np.ndarray
    w: np.ndarray
    y: np.ndarray
    m: np.ndarray
    g: np.ndarray


def additive_and_crossed(n: int, d: int, seed: int, noise: float = 1.0) -> Law:
    """Confounded: w drives x and y; linear, curved and crossed effects of the text."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, 3))
    x = rng.normal(size=(n, d)) * np.geomspace(1, 0.3, d)
    x[:, 0] -= 0.7 * w[:, 0]
    x[:, 1] += 0.3 * w[:, 1]
    g = x[:, 0] + x[:, 1] + x[:, 2] + 0.5 * x[:, 2] ** 2 + 0.5 * np.sin(2 * x[:, 3])
    m = g + 2 * w[:, 0] + 0.5 * x[:, 1] * w[:, 0]
    return Law(x, w, m + noise * rng.normal(size=n), m, g)


def gaussian_texts(n: int, d: int, p: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x | w ~ N(B w, Sigma): returns x, w and the true log s = log p(x) - log p(x | w)."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / np.sqrt(d) + np.eye(d)
    sigma = mixing @ mixing.T
    slopes = rng.normal(size=(p, d))
    slopes = slopes * strength / np.linalg.norm(slopes) @ np.linalg.cholesky(sigma).T
    w = rng.normal(size=(n, p))
    x = w @ slopes + rng.multivariate_normal(np.zeros(d), sigma, size=n)
    marginal = multivariate_normal(np.zeros(d), sigma + slopes.T @ slopes).logpdf(x)
    return x, w, marginal - multivariate_normal(np.zeros(d), sigma).logpdf(x - w @ slopes)


def binary_texts(n: int, d: int, seed: int, curved: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x in {-1, 1}^d, coordinates independent given w, log-odds linear or curved in w; returns x, w, log s."""
    rng = np.random.default_rng(seed)
    slopes = np.zeros((3, d))
    slopes[0, :4] = (0.5, -0.4, 0.3, 0.3)
    slopes[1, 1:3] = 0.3

    def half_log_odds(w: Any) -> Any:
        bent = np.column_stack([1.5 * np.sin(1.5 * w[:, 0]), w[:, 1] ** 2 - 1, w[:, 2]])
        return (bent if curved else w) @ slopes

    w = rng.normal(size=(n, 3))
    eta = half_log_odds(w)
    x = np.where(rng.random((n, d)) < expit(2 * eta), 1.0, -1.0)
    conditional = -np.logaddexp(0, -2 * x * eta).sum(axis=1)
    readers = half_log_odds(rng.normal(size=(1500, 3)))
    marginal = [logsumexp(-np.logaddexp(0, -2 * row * readers).sum(axis=1)) - np.log(1500) for row in x]
    return x, w, np.array(marginal) - conditional


def fit_quality(estimated: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Correlation, and slope of the estimated on the true log ratio."""
    covariance = np.cov(estimated, truth)
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), covariance[0, 1] / covariance[1, 1]
