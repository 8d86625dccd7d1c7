"""Normalisation of the interaction of text and reader to a density ratio with the correct margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.data.folds import row_codes
from causalopt.typing import Float64

CHUNK = 1_000_000
"""Largest number of (text, reader) pairs held in memory at once."""
LARGEST_RANGE = 300.0
"""Largest range of theta_w' x, in nats, for which exponentials are safe."""
TOLERANCE = 1e-6
ITERATIONS = 500
ROUNDS, STEPS = 5, 100
"""Number of steps in logarithms, and of cheap steps after each."""


@dataclass(frozen=True, eq=False)
class Normalizer:
    """log r(x, w) = theta_w' x - a(x) - b(w), with a and b such that r has mean one over readers and over texts.

    If p(x | w) is proportional to p_0(x) exp(theta_w' x), then r = p(x | w) / p(x) for the a and b that keep both
    margins: for each text the mean of r over the population of readers is one, and for each reader the mean over the
    population of texts. They are found by alternating the two (Sinkhorn 1967), on samples of both populations.
    Nothing is assumed about p_0, which for texts made of discrete parts is far from any Gaussian.

    Attributes
    ----------
    texts, readers:
        Samples of the two populations, [J, q] and [K, q]: theta_w' x is the product of a row of each.
    log_text, log_reader:
        For each text and reader, the log of its probability minus its normalising term, [J] and [K], nats.
    """

    texts: Float64
    readers: Float64
    log_text: Float64
    log_reader: Float64

    @classmethod
    def of(
        cls,
        texts: Float64,
        readers: Float64,
        text_weight: Float64,
        reader_weight: Float64,
        tolerance: float = TOLERANCE,
        steps: int = STEPS,
    ) -> Self:
        """Find the normalising terms for two weighted samples.

        They change by less than ``tolerance`` nats in the last step; ``steps`` cheap steps follow each in logarithms.
        """
        text_share = text_weight / text_weight.sum()
        reader_share = reader_weight / reader_weight.sum()
        kernel = texts @ readers.T
        if np.ptp(kernel) > LARGEST_RANGE:
            return cls._in_logs(texts, readers, np.log(text_share), np.log(reader_share), tolerance, steps)
        # Every row and every column has an entry of order one, so that no sum below is zero.
        row_top = kernel.max(axis=1)
        kernel -= row_top[:, None]
        column_top = kernel.max(axis=0)
        kernel -= column_top
        np.exp(kernel, out=kernel)
        for_text = np.ones(len(texts))
        for _ in range(ITERATIONS):
            for_reader = 1 / ((text_share * for_text) @ kernel)
            before, for_text = for_text, 1 / (kernel @ (reader_share * for_reader))
            if np.max(np.abs(np.log(for_text / before))) < tolerance:
                break
        log_text = np.log(text_share * for_text) - row_top
        log_reader = np.log(reader_share * for_reader) - column_top
        return cls(texts, readers, log_text, log_reader)

    @classmethod
    def _in_logs(
        cls,
        texts: Float64,
        readers: Float64,
        text_share: Float64,
        reader_share: Float64,
        tolerance: float = TOLERANCE,
        steps: int = STEPS,
    ) -> Self:
        """Iterate if the ratios span more than a float holds: a step in logarithms, then cheap steps relative to it.

        The cheap steps scale quantities near one, since the step in logarithms has brought both margins there (the
        absorption of Schmitzer 2019). If they still overflow a float, the next step in logarithms continues.
        """
        log_text, log_reader = text_share, reader_share
        of_text, of_reader = np.exp(text_share), np.exp(reader_share)
        for _ in range(ROUNDS):
            log_reader = reader_share - log_mean(readers, texts, log_text)
            before, log_text = log_text, text_share - log_mean(texts, readers, log_reader)
            if np.max(np.abs(log_text - before)) < tolerance:
                break
            with np.errstate(all="ignore"):
                kernel = texts @ readers.T
                kernel += (log_text - text_share)[:, None]
                kernel += log_reader - reader_share
                np.exp(kernel, out=kernel)
                for_text = np.ones(len(texts))
                for _ in range(steps):
                    for_reader = 1 / ((of_text * for_text) @ kernel)
                    last, for_text = for_text, 1 / (kernel @ (of_reader * for_reader))
                    if np.max(np.abs(np.log(for_text / last))) < tolerance:
                        break
                moved = log_text + np.log(for_text)
            if np.isfinite(moved).all():
                log_text = moved
        return cls(texts, readers, log_text, log_reader)

    def log_ratio(self, texts: Float64, readers: Float64) -> Float64:
        """log p(x_i | w_i) - log p(x_i), shape [n], nats, for any rows."""
        a = _of_distinct(texts, self.readers, self.log_reader)
        b = _of_distinct(readers, self.texts, self.log_text)
        return np.asarray(np.einsum("ij,ij->i", texts, readers) - a - b)


def _of_distinct(rows: Float64, population: Float64, offset: Float64) -> Float64:
    """`log_mean` for rows that may repeat."""
    codes = row_codes(rows)
    first = np.unique(codes, return_index=True)[1]
    return log_mean(rows[first], population, offset)[codes]


def log_mean(rows: Float64, population: Float64, offset: Float64) -> Float64:
    """log sum_k exp(rows_i' population_k + offset_k), shape [n], a block of rows at a time."""
    result = np.empty(len(rows))
    step = max(1, CHUNK // len(population))
    for start in range(0, len(rows), step):
        exponent = rows[start : start + step] @ population.T
        exponent += offset
        top = exponent.max(axis=1)
        exponent -= top[:, None]
        result[start : start + step] = top + np.log(np.exp(exponent, out=exponent).sum(axis=1))
    return result
