"""Features phi(c, x) of a finite policy: the text's embedding, and its products with the prompt's."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from causalopt.embedding.contracts import Embedder
from causalopt.errors import DataError
from causalopt.messages import readable
from causalopt.typing import Float64

PROMPT_COMPONENTS = 8
"""Number of leading components of the prompts' embedding that are multiplied with the text's embedding."""
MOST_NUMBERS = 50_000_000
"""Largest number of entries in the table of features, 400 MB."""


def finite_features(embedder: Embedder, texts: Sequence[str], prompts: Sequence[str] | None) -> Float64:
    """Features of every pair of prompt and text, all texts of the first prompt first, shape [C k, d (1 + p)].

    The features are phi(x), with mean zero and variance one in each coordinate over the texts, and its products with
    the p leading principal components of the prompts, with variance one over the prompts. If p is the number of prompts
    minus one, each prompt has its own coefficients. Without prompts they are phi(x) alone, shape [k, d].

    Raises
    ------
    DataError
        If the embedder gives all candidates, or all prompts, the same vector, or if the table would be too large.
    """
    phi = _standardized_embedding(embedder, texts, "candidates")
    if prompts is None or len(prompts) == 1:
        return phi
    psi = _leading(_standardized_embedding(embedder, [readable(prompt) for prompt in prompts], "prompts"))
    size = len(prompts) * phi.size * (1 + psi.shape[1])
    if size > MOST_NUMBERS:
        raise DataError(
            f"{len(prompts)} prompts and {len(texts)} candidates are too many for the finite backend; lower "
            "backend.embedder.dimensions, or use the backend 'huggingface'"
        )
    products = psi[:, None, :, None] * phi[None, :, None, :]
    return np.hstack([np.tile(phi, (len(prompts), 1)), products.reshape(len(prompts) * len(texts), -1)])


def _standardized_embedding(embedder: Embedder, strings: Sequence[str], what: str) -> Float64:
    """Embed and standardise each coordinate over the strings, shape [k, d]; constant coordinates are dropped.

    A copy of the embedder is fitted: the caller may use the same object, unchanged, in the nuisances.
    """
    features = np.asarray(copy.copy(embedder).fit(strings).transform(strings), dtype=np.float64)
    spread = features.std(axis=0)
    varying = spread > 1e-7 * max(float(np.abs(features).max(initial=0.0)), 1e-300)
    if not varying.any():
        raise DataError(f"the embedder gives all {len(strings)} {what} the same vector; use another embedder")
    return np.asarray((features[:, varying] - features[:, varying].mean(axis=0)) / spread[varying])


def _leading(centered: Float64) -> Float64:
    left, spread, _ = np.linalg.svd(centered, full_matrices=False)
    rank = min(PROMPT_COMPONENTS, int((spread > 1e-6 * spread[0]).sum()))
    return np.asarray(np.sqrt(len(centered)) * left[:, :rank])
