"""Normalisation of the interaction of text and reader to a density ratio with the correct margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.data.folds import row_codes
from causalopt.nuisance.outcome.averaging import distinct_rows
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
    def of(cls, texts: Float64, readers: Float64, text_weight: Float64, reader_weight: Float64) -> Self:
        """Find the normalising terms for two weighted samples; equal rows are merged."""
        texts, text_weight = distinct_rows(texts, text_weight)
        readers, reader_weight = distinct_rows(readers, reader_weight)
        return cls(texts, readers, *margins(texts @ readers.T, text_weight, reader_weight))

    def log_ratio(self, texts: Float64, readers: Float64) -> Float64:
        """log p(x_i | w_i) - log p(x_i), shape [n], nats, for any rows."""
        a = _of_distinct(texts, self.readers, self.log_reader)
        b = _of_distinct(readers, self.texts, self.log_text)
        return np.asarray(np.einsum("ij,ij->i", texts, readers) - a - b)


def margins(
    interaction: Float64,
    text_weight: Float64,
    reader_weight: Float64,
    tolerance: float = TOLERANCE,
    steps: int = STEPS,
) -> tuple[Float64, Float64]:
    """`Normalizer.log_text` and `Normalizer.log_reader` for a table of theta_w' x, shape [J, K].

    They change by less than ``tolerance`` nats in the last step; ``steps`` cheap steps follow each in logarithms.
    """
    text_share = text_weight / text_weight.sum()
    reader_share = reader_weight / reader_weight.sum()
    if np.ptp(interaction) > LARGEST_RANGE:
        return margins_in_logs(interaction, text_share, reader_share, tolerance, steps)
    # Every row and every column has an entry of order one, so that no sum below is zero.
    row_top = interaction.max(axis=1)
    kernel = interaction - row_top[:, None]
    column_top = kernel.max(axis=0)
    kernel -= column_top
    np.exp(kernel, out=kernel)
    for_text = np.ones(len(kernel))
    for _ in range(ITERATIONS):
        for_reader = 1 / ((text_share * for_text) @ kernel)
        before, for_text = for_text, 1 / (kernel @ (reader_share * for_reader))
        if np.max(np.abs(np.log(for_text / before))) < tolerance:
            break
    return np.log(text_share * for_text) - row_top, np.log(reader_share * for_reader) - column_top


def margins_in_logs(
    interaction: Float64,
    text_share: Float64,
    reader_share: Float64,
    tolerance: float = TOLERANCE,
    steps: int = STEPS,
) -> tuple[Float64, Float64]:
    """Iterate if the ratios span more than a float holds: a step in logarithms, then cheap steps relative to it.

    The cheap steps scale quantities near one, since the step in logarithms has brought both margins there (the
    absorption of Schmitzer 2019). If they still overflow a float, the next step in logarithms continues.
    """
    of_texts, of_readers = np.log(text_share), np.log(reader_share)
    log_text, log_reader = of_texts, of_readers
    for _ in range(ROUNDS):
        log_reader = of_readers - log_sums(interaction.T, log_text)
        before, log_text = log_text, of_texts - log_sums(interaction, log_reader)
        if np.max(np.abs(log_text - before)) < tolerance:
            break
        with np.errstate(all="ignore"):
            kernel = interaction + (log_text - of_texts)[:, None]
            kernel += log_reader - of_readers
            np.exp(kernel, out=kernel)
            for_text = np.ones(len(kernel))
            for _ in range(steps):
                for_reader = 1 / ((text_share * for_text) @ kernel)
                last, for_text = for_text, 1 / (kernel @ (reader_share * for_reader))
                if np.max(np.abs(np.log(for_text / last))) < tolerance:
                    break
            moved = log_text + np.log(for_text)
        if np.isfinite(moved).all():
            log_text = moved
    return log_text, log_reader


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
        result[start : start + step] = log_sums(rows[start : start + step] @ population.T, offset)
    return result


def log_sums(table: Float64, offset: Float64) -> Float64:
    """log sum_k exp(table_ik + offset_k), shape [n]."""
    exponent = table + offset
    top = exponent.max(axis=1)
    exponent -= top[:, None]
    return np.asarray(top + np.log(np.exp(exponent, out=exponent).sum(axis=1)))
