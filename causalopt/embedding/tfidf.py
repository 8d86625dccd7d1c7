"""TF-IDF reduced by a truncated SVD (latent semantic analysis): no download."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from causalopt.errors import ConfigError, DataError
from causalopt.typing import Float32

ROUNDING = 1e-6
"""Share of the largest singular value below which a direction is none of the texts: what is left there is rounding."""


class TfidfSvdEmbedder(BaseEstimator):  # type: ignore[misc]
    """Words and word pairs, weighted by TF-IDF, in the leading dimensions of their SVD (Deerwester et al. 1990).

    Parameters
    ----------
    dimensions:
        At most; fewer when the texts span fewer (few texts, few terms, or texts made of the same parts).
    ngram_max:
        Longest run of words that is a term.
    seed:
        Seeds the randomised SVD.

    Raises
    ------
    ConfigError
        When a setting is below 1.
    DataError
        From `fit`, when no text holds a word.

    Examples
    --------
    >>> from causalopt.embedding.tfidf import TfidfSvdEmbedder
    >>> TfidfSvdEmbedder(dimensions=2).fit(["a warm day", "a cold day", "one night"]).transform(["a day"]).shape
    (1, 2)
    """

    def __init__(self, dimensions: int = 64, ngram_max: int = 2, seed: int = 0) -> None:
        for name, value in (("dimensions", dimensions), ("ngram_max", ngram_max)):
            if value < 1:
                raise ConfigError(f"embedder.{name} must be at least 1, not {value}")
        self.dimensions = dimensions
        self.ngram_max = ngram_max
        self.seed = seed

    def fit(self, texts: Sequence[str]) -> Self:
        """Learn the terms, their weights and the directions."""
        # Single characters are words too: "I" and "a" matter in short texts.
        self._terms = TfidfVectorizer(
            ngram_range=(1, self.ngram_max), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float64
        )
        try:
            weights = self._terms.fit_transform(texts)
        except ValueError:
            raise DataError("no text holds a word, so there are no terms to embed; choose another embedder") from None
        rank = min(self.dimensions, weights.shape[1], weights.shape[0])
        if weights.shape[1] == 1:  # scikit-learn refuses a single term
            self._directions = np.ones((1, 1))
        else:
            decomposition = TruncatedSVD(n_components=rank, random_state=self.seed).fit(weights)
            singular = decomposition.singular_values_
            # Where the rank is smaller, the remaining components are arbitrary: no fitted text has a part of them, and
            # a new text has one that nothing is known of.
            self._directions = decomposition.components_[singular > ROUNDING * singular.max()]
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed, shape [n, d], float32."""
        return np.asarray(self._terms.transform(texts) @ self._directions.T, dtype=np.float32)

    def fingerprint(self) -> str:
        """Hash of what decides an embedding: the terms, their weights and the directions."""
        digest = hashlib.sha256(repr((self.ngram_max, list(self._terms.get_feature_names_out()))).encode())
        for learnt in (self._terms.idf_, self._directions):
            digest.update(learnt.tobytes())
        return digest.hexdigest()
