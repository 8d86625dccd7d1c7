"""A survey in which every text is rated ten times and every reader rates twenty texts, with a known value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalopt.typing import Float64, Int64

TEXTS, READERS = 200, 100
RATINGS_OF_TEXT, RATINGS_OF_READER = 10, 20
DIMENSIONS = 4
LEVEL = 5.0
TEXT_EFFECT = np.array([0.5, 0.3, 0.2, 0.0])
CURVATURE = 0.3
READER_EFFECT = 1.0
TEXT_NOISE, READER_NOISE, ROW_NOISE = 1.0, 1.0, 1.0
"""Standard deviations of what is peculiar to a text, to a reader, and to a single rating, outcome units."""
SHIFT = 0.4
"""The policy's first coordinate has this mean, the logged one zero."""


@dataclass(frozen=True)
class Ratings:
    """Rows of one survey: codes of text and reader [n], embedding [n, d], covariate [n, 1], outcome [n].

    ``correlation`` is that of the text's first coordinate with the covariate, over the ratings.
    """

    text: Int64
    reader: Int64
    x: Float64
    w: Float64
    y: Float64
    correlation: float

    @property
    def log_ratio(self) -> Float64:
        """Log ratio of the policy's law of the embedding to the logged one, nats."""
        return SHIFT * self.x[:, 0] - SHIFT**2 / 2


def effect(x: Float64) -> Float64:
    """g of embeddings, shape [n], outcome units."""
    return np.asarray(LEVEL + x @ TEXT_EFFECT + CURVATURE * (x[:, 0] ** 2 - 1))


def truth() -> float:
    """Value of the policy: the mean of g where the first coordinate has mean `SHIFT`."""
    return float(LEVEL + SHIFT * TEXT_EFFECT[0] + CURVATURE * SHIFT**2)


def policy_draws(m: int, rng: np.random.Generator) -> Float64:
    """Embeddings of texts that the policy writes, shape [m, d]."""
    x = rng.standard_normal((m, DIMENSIONS))
    x[:, 0] += SHIFT
    return x


def survey(seed: int, correlation: float) -> Ratings:
    """Draw new texts, new readers and all ratings.

    Who rates what: the places of the texts and those of the readers are each put in an order, of a text's first
    coordinate and of a reader's covariate with noise in both, and matched from end to end. Every text then has its ten
    ratings and every reader twenty, and the two are jointly normal with correlation ``-correlation``.
    """
    rng = np.random.default_rng([seed, 17])
    x = rng.standard_normal((TEXTS, DIMENSIONS))
    w = rng.standard_normal(READERS)
    text = np.repeat(np.arange(TEXTS), RATINGS_OF_TEXT)
    reader = np.repeat(np.arange(READERS), RATINGS_OF_READER)
    # Each order has correlation sqrt(c) with what it orders by, so that the two together have c.
    share = np.sqrt(correlation)
    rest = np.sqrt(1 - correlation)
    text = text[np.argsort(share * x[text, 0] + rest * rng.standard_normal(len(text)))]
    reader = reader[np.argsort(-share * w[reader] + rest * rng.standard_normal(len(reader)))]
    _no_text_twice(text, reader, rng)
    y = (
        effect(x[text])
        + READER_EFFECT * w[reader]
        + TEXT_NOISE * rng.standard_normal(TEXTS)[text]
        + READER_NOISE * rng.standard_normal(READERS)[reader]
        + ROW_NOISE * rng.standard_normal(len(text))
    )
    return Ratings(text, reader, x[text], w[reader][:, None], y, -correlation)


def _no_text_twice(text: Int64, reader: Int64, rng: np.random.Generator) -> None:
    """Trade texts with a near place, in place, until no reader has a text twice."""
    while True:
        _, first = np.unique(reader * TEXTS + text, return_index=True)
        twice = np.setdiff1d(np.arange(len(text)), first)
        if not len(twice):
            return
        for i in twice:
            j = (i + int(rng.integers(-60, 61))) % len(text)
            text[i], text[j] = text[j], text[i]
