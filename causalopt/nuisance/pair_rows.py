"""Features of pairs of texts and readers, of the rows and of a policy, computed a block at a time.

There are some thousand features of a pair. What a regression needs of them are sums over rows and their products with a
few vectors, so that they are never held for all rows at once: they would take ten times the memory of everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np

from causalopt.blocks import blocks, by_blocks
from causalopt.nuisance.pair_features import PairFeatures
from causalopt.typing import Array, Embeddings, Float64, Int64

BLOCK = 4096
"""Pairs whose features are held at a time."""


@dataclass(frozen=True, eq=False)
class PolicyTexts:
    """The texts of a policy and the share of each.

    Attributes
    ----------
    x:
        Embeddings, with those of their prompts appended if there are prompts, shape [m, d].
    share:
        Shape [m], summing to one: the probability of each text, or 1 / m for draws.
    row:
        Position of the row in whose context each text was written, shape [m]; None if every reader may read every text.
    score:
        A score of each text, shape [m], if the rows have one.
    """

    x: Embeddings
    share: Float64
    row: Int64 | None = None
    score: Float64 | None = None


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over some rows of their share, and of the share times phi and phi phi', shapes [], [r] and [r, r].

    Here phi is less `PairRows.center`, so that no digits are lost where a feature's mean is far from zero.
    """

    share: float
    phi: Float64
    squares: Float64

    @classmethod
    def of(cls, parts: Sequence[Self]) -> Self:
        """Add the sums over several sets of rows."""
        phi, squares = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("phi", "squares"))
        return cls(sum(part.share for part in parts), phi, squares)


@dataclass(frozen=True, eq=False)
class PairRows:
    """The rows, each a pair of a text and a reader.

    Attributes
    ----------
    features:
        Their features phi, r of them.
    x, w, score:
        Embeddings [n, d], encoded covariates [n, p], and a score of each row's text [n], if there is one.
    share:
        Each row's share of the exposure, shape [n]; 0 for a row that cannot be weighted.
    """

    features: PairFeatures
    x: Embeddings
    w: Array
    score: Float64 | None
    share: Float64
    _last: list[tuple[Float64, Float64]] = field(default_factory=list, repr=False)

    @cached_property
    def center(self) -> Float64:
        """Mean of phi over the rows, shape [r]."""
        return self.weighted_sum(self.share)

    def phi(self, rows: Int64) -> Float64:
        """Features of the rows at some positions, shape [k, r]."""
        text = self.features.text(self.x[rows], None if self.score is None else self.score[rows])
        return self.features.pairs(text, self.features.reader(self.w[rows]))

    def at(self, slopes: Float64, rows: Int64 | None = None) -> Float64:
        """Phi of all rows, or of some, times each column of ``slopes`` [r, k], shape [n, k]."""
        rows = np.arange(len(self.x)) if rows is None else rows
        return by_blocks(lambda part: self.phi(part) @ slopes, rows, rows=BLOCK)

    def sums(self, rows: Int64) -> Sums:
        """Add up over some rows."""
        count = len(self.center)
        phi, squares = np.zeros(count), np.zeros((count, count))
        for block in blocks(len(rows), BLOCK):
            part = rows[block]
            root = np.sqrt(self.share[part])
            rooted = (self.phi(part) - self.center) * root[:, None]
            phi += root @ rooted
            squares += rooted.T @ rooted
        return Sums(float(self.share[rows].sum()), phi, squares)

    def weighted_sum(self, weight: Float64) -> Float64:
        """Sum of weight_i phi_i, shape [r]; the last one is kept, as it is asked for again with the same weights."""
        if not self._last or not np.array_equal(self._last[0][0], weight):
            parts = (np.arange(block.start, block.stop) for block in blocks(len(weight), BLOCK))
            self._last[:] = [(weight, np.asarray(sum(weight[rows] @ self.phi(rows) for rows in parts)))]
        return self._last[0][1]


@dataclass(frozen=True, eq=False)
class PolicyPairs:
    """A policy's texts, each with the reader of its row, or all of them with all readers.

    Attributes
    ----------
    features, w:
        As in `PairRows`.
    policy:
        The texts.
    weight:
        Exposure of each row, shape [n].
    """

    features: PairFeatures
    policy: PolicyTexts
    w: Array
    weight: Float64

    def mean(self, rows: Array | None = None) -> Float64 | None:
        """Mean of phi over the texts and their readers, or among those of some rows [n], shape [r].

        None if no text was written for these rows.
        """
        weight = self.weight if rows is None else np.where(rows, self.weight, 0.0)
        if self.policy.row is None:
            # Texts and readers are crossed, so that the mean of a product is the product of the means.
            return np.asarray(self.features.pairs(self._of_texts[None], self._of_readers(weight)[None])[0])
        share = self.policy.share * weight[self.policy.row]
        return None if share.sum() <= 0 else self._weighted(share / share.sum())

    def at_texts(self, slope: Float64) -> Float64:
        """Phi of each text, with its row's reader or else the mean over all readers, times a slope, shape [m]."""
        return by_blocks(lambda draws: self._phi(draws) @ slope, self._draws, rows=BLOCK)

    def at_readers(self, slope: Float64) -> Float64 | None:
        """Phi of each reader, averaged over the texts that all of them may read, times a slope, shape [n]."""
        if self.policy.row is not None:
            return None

        def of(w: Array) -> Float64:
            return self.features.pairs(np.tile(self._of_texts, (len(w), 1)), self.features.reader(w)) @ slope

        return by_blocks(of, self.w, rows=BLOCK)

    def sampling_variance(self) -> float:
        """Squared standard error of the mean of phi over the texts, taken for a sample, summed over the features."""
        mean = self._weighted(self.policy.share)
        apart = by_blocks(lambda draws: np.sum((self._phi(draws) - mean) ** 2, axis=1), self._draws, rows=BLOCK)
        return float(self.policy.share**2 @ apart)

    @property
    def _draws(self) -> Int64:
        return np.arange(len(self.policy.share))

    def _blocks(self, draws: Int64) -> Iterator[Int64]:
        return (draws[block] for block in blocks(len(draws), BLOCK))

    def _text(self, draws: Int64) -> Float64:
        score = self.policy.score
        return self.features.text(self.policy.x[draws], None if score is None else score[draws])

    def _phi(self, draws: Int64) -> Float64:
        text = self._text(draws)
        if self.policy.row is not None:
            return self.features.pairs(text, self.features.reader(self.w[self.policy.row[draws]]))
        return self.features.pairs(text, np.tile(self._all_readers, (len(text), 1)))

    def _weighted(self, share: Float64) -> Float64:
        """Sum of share_j phi_j over the texts, shape [r]."""
        counted = np.flatnonzero(share)
        return np.asarray(sum(share[draws] @ self._phi(draws) for draws in self._blocks(counted)))

    @cached_property
    def _of_texts(self) -> Float64:
        share = self.policy.share
        return np.asarray(sum(share[draws] @ self._text(draws) for draws in self._blocks(self._draws)))

    @cached_property
    def _all_readers(self) -> Float64:
        return self._of_readers(self.weight)

    def _of_readers(self, weight: Float64) -> Float64:
        total = sum(weight[part] @ self.features.reader(self.w[part]) for part in blocks(len(weight), BLOCK))
        return np.asarray(total / weight.sum())
