"""Finds the text behind an embedding again, for outcome models that read texts rather than vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from causalopt.embedding.contracts import Embedder
from causalopt.errors import ModelError
from causalopt.typing import Array, Float32


class TextTable:
    """Strings by their embedding; copies of a model share it, so that all of them read texts that come later.

    Of two texts with the same embedding the later one's is moved by the smallest step of a float32, which no other
    model can feel, so that the two can be told apart.

    Examples
    --------
    >>> from causalopt.embedding.tfidf import TfidfSvdEmbedder
    >>> from causalopt.nuisance.text_table import TextTable
    >>> table = TextTable()
    >>> embedder = table.watch(TfidfSvdEmbedder(dimensions=2).fit(["a warm day", "a cold day", "one night"]))
    >>> table.read(embedder.transform(["a cold day", "one night"]))
    [(None, 'a cold day'), (None, 'one night')]
    """

    def __init__(self) -> None:
        self._strings: dict[bytes, str] = {}
        self._vectors: dict[str, Float32] = {}
        self._dimensions = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def watch(self, embedder: Embedder) -> Embedder:
        """Return an embedder that gives the same vectors, each its own, and enters each string here."""
        return _Watched(embedder, self)

    def enter(self, vectors: Float32, texts: Sequence[str]) -> Float32:
        """Keep each string under its vector, and return the vectors, shape [n, d], all distinct."""
        self._dimensions = vectors.shape[1]
        for vector, text in zip(vectors, texts, strict=True):
            if text not in self._vectors:
                own = vector.copy()
                while own.tobytes() in self._strings:
                    own[0] = np.nextafter(own[0], np.float32(np.inf))
                self._vectors[text] = own
                self._strings[own.tobytes()] = text
        return np.stack([self._vectors[text] for text in texts])

    def read(self, x: Array) -> list[tuple[str | None, str]]:
        """Prompt (None without prompts) and text of each row of ``x``, shape [n, d] or [n, 2 d]."""
        rows = np.ascontiguousarray(x, dtype=np.float32)
        d = self._dimensions
        try:
            texts = [self._strings[row.tobytes()] for row in rows[:, :d]]
            if rows.shape[1] == d:
                return [(None, text) for text in texts]
            return [(self._strings[row.tobytes()], text) for row, text in zip(rows[:, d:].copy(), texts, strict=True)]
        except KeyError:
            raise ModelError(
                "an outcome model that reads texts meets an embedding whose text it was never told: fit it through "
                "PseudoOutcomeEstimator, which embeds the texts"
            ) from None


class _Watched:
    def __init__(self, embedder: Embedder, table: TextTable) -> None:
        self._embedder = embedder
        self._table = table

    def fit(self, texts: Sequence[str]) -> Self:
        self._embedder.fit(texts)
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        return self._table.enter(np.asarray(self._embedder.transform(texts), dtype=np.float32), texts)
