"""Standardised embeddings of texts, which new texts get by the same embedder and the same scale."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.embedding.contracts import Embedder
from causalopt.errors import DataError, ModelError
from causalopt.typing import Float64

SAME = 1e-4
"""Largest change of a standardised coordinate between two fits of the same embedder to the same texts."""
COMPARED = 50
"""Number of texts on which two such fits are compared."""


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """phi(x): the embedding of a text, with mean zero and variance one in each coordinate over the texts of the fit.

    Attributes
    ----------
    embedder:
        Name with settings, or an object; None if the embedder is not known, and new texts have no features.
    fitted_on:
        The texts that it is fitted on.
    varying, center, spread:
        The coordinates that differ between these texts, and their mean and standard deviation, shape [d].
    known:
        Features of the first of these texts, by which another fit is compared with this one, [m, d].
    """

    embedder: Mapping[str, Any] | str | Embedder | None
    fitted_on: Sequence[str] = field(repr=False)
    varying: Float64
    center: Float64
    spread: Float64
    known: Float64 = field(repr=False)

    @classmethod
    def fit(cls, embedder: Mapping[str, Any] | str | Embedder, texts: Sequence[str]) -> TextFeatures:
        """Fit a copy of the embedder: the caller may use the same object, unchanged, in the nuisances.

        Raises
        ------
        DataError
            If all texts have the same vector.
        """
        fitted = copy.copy(plugins.embedders.create(embedder)).fit(texts)
        vectors = np.asarray(fitted.transform(texts), dtype=np.float64)
        spread = vectors.std(axis=0)
        varying = np.flatnonzero(spread > 1e-7 * max(float(np.abs(vectors).max(initial=0.0)), 1e-300))
        if not len(varying):
            raise DataError(f"the embedder gives all {len(texts)} candidates the same vector; use another embedder")
        center, scale = vectors[:, varying].mean(axis=0), spread[varying]
        known = (vectors[:COMPARED, varying] - center) / scale
        found = cls(embedder, texts, varying.astype(np.float64), center, scale, known)
        found.__dict__["_fitted"] = fitted
        return found

    @cached_property
    def _fitted(self) -> Embedder:
        if self.embedder is None:
            raise ModelError(
                "the policy was saved without its embedder, which was an object: name the embedder in backend.embedder "
                "for a policy that chooses among new texts"
            )
        fresh: Embedder = copy.copy(plugins.embedders.create(self.embedder))
        return fresh.fit(self.fitted_on)

    def of(self, texts: Sequence[str]) -> Float64:
        """phi of any texts, shape [n, d].

        Raises
        ------
        ModelError
            If the embedder is not known, or does not give the vectors any more that the policy was fitted with.
        """
        known = self._standardized(self.fitted_on[: len(self.known)])
        if known.shape != self.known.shape or not np.allclose(known, self.known, atol=SAME):
            raise ModelError(
                "the embedder gives other vectors than those that the policy was fitted with (another version, or "
                "another machine): fit the policy again"
            )
        return self._standardized(texts)

    def _standardized(self, texts: Sequence[str]) -> Float64:
        vectors = np.asarray(self._fitted.transform(texts), dtype=np.float64)
        # In C order, as a saved policy reads them: sums over coordinates then have the same last bit.
        return np.ascontiguousarray((vectors[:, self.varying.astype(np.int64)] - self.center) / self.spread)
