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
"""Share of the largest singular value below which a direction is only rounding error, and not one of the texts."""


class TfidfSvdEmbedder(BaseEstimator):  # type: ignore[misc]
    """Words and word pairs, weighted by TF-IDF, projected on the leading SVD dimensions (Deerwester et al. 1990).

    Parameters
    ----------
    dimensions:
        Maximum number of dimensions; there are fewer if the texts span fewer (few texts, few terms, or texts made of
        the same parts).
    ngram_max:
        Largest number of words in a term.
    seed:
        Seed of the randomised SVD.

    Raises
    ------
    ConfigError
        If a setting is below 1.
    DataError
        From `fit`, if no text contains a word.

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
            # If the rank is smaller, the remaining components are arbitrary: the fitted texts have no part in them, and
            # nothing is known about the part that a new text has.
            self._directions = decomposition.components_[singular > ROUNDING * singular.max()]
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        """Embed, shape [n, d], float32."""
        return np.asarray(self._terms.transform(texts) @ self._directions.T, dtype=np.float32)

    def fingerprint(self) -> str:
        """Hash of everything that determines an embedding: the terms, their weights and the directions."""
        digest = hashlib.sha256(repr((self.ngram_max, list(self._terms.get_feature_names_out()))).encode())
        for learnt in (self._terms.idf_, self._directions):
            digest.update(learnt.tobytes())
        return digest.hexdigest()
