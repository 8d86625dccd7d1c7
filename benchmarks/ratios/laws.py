"""Laws of text embeddings given a reader (three standard normal covariates) whose density ratio is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit, log_softmax, logsumexp

from causalopt.typing import Float64

COVARIATES = 3
MARGIN = 4000
"""Readers in the average that stands for p(x) where it has no closed form."""
TOPICS = 5


@dataclass(frozen=True)
class Law:
    """Rows of a law: embedding x [n, d], covariates w [n, 3], and log s = log p(x) - log p(x|w) [n], nats."""

    x: Float64
    w: Float64
    log_s: Float64


def gaussian(n: int, d: int, seed: int) -> Law:
    """x | w ~ N(B'w, Sigma), with a Sigma of unequal, correlated coordinates; p(x) is a normal law too."""
    rng, w = _readers(n, seed)
    mixing = rng.standard_normal((d, d)) / np.sqrt(d) + np.eye(d)
    slopes = rng.standard_normal((COVARIATES, d))
    slopes /= np.linalg.norm(slopes)
    # In the coordinates z = mixing^-1 x the noise is white, and the ratio is the same.
    z = w @ slopes + rng.standard_normal((n, d))
    total = np.eye(d) + slopes.T @ slopes
    solved = np.linalg.solve(total, z.T).T
    log_margin = -0.5 * np.sum(z * solved, axis=1) - 0.5 * np.linalg.slogdet(total)[1]
    return Law(z @ mixing.T, w, log_margin + 0.5 * np.sum((z - w @ slopes) ** 2, axis=1))


def attributes(n: int, d: int, seed: int) -> Law:
    """d attributes that a text has (1) or has not (-1), independent given w, with log-odds linear in w."""
    return _binary(n, d, seed, lambda w: w)


def curved_attributes(n: int, d: int, seed: int) -> Law:
    """As `attributes`, with log-odds that bend in w."""
    return _binary(n, d, seed, lambda w: np.column_stack([1.5 * np.sin(1.5 * w[:, 0]), w[:, 1] ** 2 - 1, w[:, 2]]))


def topics(n: int, d: int, seed: int) -> Law:
    """Five topics, whose frequencies depend on w; a text lies about its topic's centre in embedding space."""
    rng, w = _readers(n, seed)
    centres = rng.standard_normal((TOPICS, d))
    centres *= 2.5 / np.linalg.norm(centres, axis=1, keepdims=True)
    slopes = 0.8 * rng.standard_normal((COVARIATES, TOPICS))
    log_topic = log_softmax(w @ slopes, axis=1)
    topic = np.array([rng.choice(TOPICS, p=row) for row in np.exp(log_topic)])
    x = centres[topic] + rng.standard_normal((n, d))
    log_density = -0.5 * np.sum((x[:, None, :] - centres) ** 2, axis=2)
    readers = rng.standard_normal((MARGIN, COVARIATES))
    margin = np.log(np.exp(log_softmax(readers @ slopes, axis=1)).mean(axis=0))
    return Law(x, w, logsumexp(log_density + margin, axis=1) - logsumexp(log_density + log_topic, axis=1))


LAWS: dict[str, Callable[[int, int, int], Law]] = {
    "gaussian": gaussian,
    "attributes": attributes,
    "curved attributes": curved_attributes,
    "topics": topics,
}


def _readers(n: int, seed: int) -> tuple[np.random.Generator, Float64]:
    rng = np.random.default_rng([seed, 5])
    return rng, rng.standard_normal((n, COVARIATES))


def _binary(n: int, d: int, seed: int, bend: Callable[[Float64], Float64]) -> Law:
    rng, w = _readers(n, seed)
    slopes = np.zeros((COVARIATES, d))
    slopes[0, :4] = (0.5, -0.4, 0.3, 0.3)
    slopes[1, 1:3] = 0.3
    eta = bend(w) @ slopes
    x = np.where(np.log(rng.random((n, d))) < log_expit(2 * eta), 1.0, -1.0)
    given = log_expit(2 * x * eta).sum(axis=1)
    # Attributes that no covariate moves have the same probability in p(x) and p(x|w).
    moved = np.flatnonzero(np.abs(slopes).sum(axis=0))
    patterns, which = np.unique(x[:, moved], axis=0, return_inverse=True)
    readers = 2 * bend(rng.standard_normal((MARGIN, COVARIATES))) @ slopes[:, moved]
    margin = np.array([logsumexp(log_expit(row * readers).sum(axis=1)) for row in patterns]) - np.log(MARGIN)
    still = log_expit(2 * np.delete(x, moved, axis=1) * np.delete(eta, moved, axis=1)).sum(axis=1)
    return Law(x, w, margin[which.reshape(-1)] + still - given)
