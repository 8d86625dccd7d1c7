"""Text to vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from causalopt.doors import as_texts, check_contract
from causalopt.embedding.cache import CachedEmbedder
from causalopt.embedding.contracts import Embedder
from causalopt.errors import DataError
from causalopt.executors import IN_PROCESS, Executor
from causalopt.messages import readable
from causalopt.progress import track
from causalopt.repeated import RepeatedRows
from causalopt.typing import Float32

__all__ = ["CachedEmbedder", "Embedder", "embed", "embed_repeated"]

CHUNK = 16_384
"""Texts of one task: a constant, as a vector's last bit may depend on the texts of its batch, but on no executor."""


def embed(
    embedder: Embedder, prompts: Sequence[str] | None, texts: Sequence[str], executor: Executor = IN_PROCESS
) -> Float32:
    """Embed rows, each distinct string once; with prompts, the prompt's embedding is appended to the text's.

    A prompt that is a conversation is embedded as people read it (`causalopt.messages.readable`).

    Parameters
    ----------
    embedder:
        Fitted.
    prompts, texts:
        n rows; ``prompts`` is None when there are none.
    executor:
        Where chunks of texts are embedded; the vectors do not depend on it.

    Returns
    -------
    Float32
        Shape [n, d], or [n, 2 d] with prompts.

    Raises
    ------
    DataError
        If there are no texts, if the numbers of prompts and texts differ, or if the embedder breaks its contract: a
        vector that is not finite, or not one vector for each text.

    Examples
    --------
    >>> from causalopt.embedding import embed
    >>> from causalopt.embedding.tfidf import TfidfSvdEmbedder
    >>> embedder = TfidfSvdEmbedder(dimensions=2).fit(["a warm day", "a cold day", "one night"])
    >>> embed(embedder, None, ["a day", "a day"]).shape, embed(embedder, ["Warm?"], ["a day"]).shape
    ((2, 2), (1, 4))
    """
    check_contract("embedder", embedder, ["fit", "transform"], "an embedder")
    texts = as_texts("texts", texts)
    prompts = None if prompts is None else as_texts("prompts", prompts)
    if not texts:
        raise DataError("there are no texts to embed")
    if prompts is not None and len(prompts) != len(texts):
        raise DataError(f"there are {len(prompts)} prompts for {len(texts)} texts")
    embedded = _distinct(embedder, texts, executor)
    if prompts is None:
        return embedded
    known = {prompt: readable(prompt) for prompt in dict.fromkeys(prompts)}
    return np.hstack([embedded, _distinct(embedder, [known[prompt] for prompt in prompts], executor)])


def embed_repeated(
    embedder: Embedder, prompts: Sequence[str] | None, texts: Sequence[str], executor: Executor = IN_PROCESS
) -> RepeatedRows:
    """`embed` of rows whose texts (with their prompts) repeat, with one vector for each distinct one."""
    texts = as_texts("texts", texts)
    prompts = None if prompts is None else as_texts("prompts", prompts)
    if prompts is not None and len(prompts) != len(texts):
        raise DataError(f"there are {len(prompts)} prompts for {len(texts)} texts")
    pairs = texts if prompts is None else list(zip(prompts, texts, strict=False))
    code, _ = pd.factorize(pd.Series(pairs, dtype=object))
    first = np.unique(code, return_index=True)[1]
    asked = None if prompts is None else [prompts[i] for i in first]
    return RepeatedRows(embed(embedder, asked, [texts[i] for i in first], executor), code)


def _distinct(embedder: Embedder, texts: Sequence[str], executor: Executor) -> Float32:
    position = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    vectors = _in_chunks(embedder, list(position), executor)
    if vectors.ndim != 2 or len(vectors) != len(position):
        raise DataError(
            f"embedder {type(embedder).__name__} returned shape {vectors.shape} for {len(position)} texts; "
            "it must return one vector for each"
        )
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        text = list(position)[int(np.argmin(finite))]
        raise DataError(
            f"embedder {type(embedder).__name__} returned a vector that is not finite for {int((~finite).sum())} of "
            f"{len(position)} texts, the first of them {text[:60]!r}"
        )
    return vectors[[position[text] for text in texts]]


def _in_chunks(embedder: Embedder, texts: list[str], executor: Executor) -> Float32:
    """Embed distinct texts; a single chunk in this process."""
    if len(texts) <= CHUNK:
        return np.asarray(embedder.transform(texts), dtype=np.float32)
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    embedded = list(track(executor.map(embedder.transform, chunks), "chunks of texts to embed", len(chunks)))
    return np.concatenate([np.asarray(part, dtype=np.float32) for part in embedded])
