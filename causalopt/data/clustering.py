"""Clustering of rows by the units that were drawn, as used for standard errors: rows of one unit are dependent."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pandas as pd

from causalopt.data.population import Population
from causalopt.typing import Int64

Way = tuple[str, Int64]
"""A clustering: the name of its units, and the code of each row's unit, shape [n]."""


def codes_of(labels: Sequence[Hashable]) -> Int64:
    """Codes of labels by first appearance, shape [n]."""
    return pd.factorize(pd.Series(list(labels), dtype=object))[0].astype("int64")


def text_codes(prompts: Sequence[str] | None, texts: Sequence[str]) -> Int64:
    """Codes of the texts, each with its prompt, by first appearance, shape [n]."""
    return codes_of(texts if prompts is None else list(zip(prompts, texts, strict=True)))


def drawn(population: Population, text: Int64, prompt: Int64 | None) -> list[Way]:
    """Return the prompts or texts if they are a sample, and nothing if both are fixed. One prompt is not a sample.

    Parameters
    ----------
    population:
        Whether texts and prompts are drawn or fixed.
    text, prompt:
        Codes of the texts and of the prompts, shape [n]; ``prompt`` is None without prompts.
    """
    if prompt is not None and population.prompts == "drawn" and prompt.max(initial=0) > 0:
        return [("prompts", prompt)]
    return [("texts", text)] if population.texts == "drawn" else []


def ways(sampled: Sequence[Way], groups: Int64 | None, readers: Int64 | None) -> list[Way]:
    """Return the clusterings: by what was drawn, and by named groups and readers.

    A clustering whose units lie within those of another is dropped. A group of texts therefore replaces the texts; a
    group that divides texts is a clustering of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.data.clustering import ways
    >>> texts = ("texts", np.array([0, 1, 2, 3]))
    >>> [name for name, _ in ways([texts], groups=np.array([0, 0, 1, 1]), readers=None)]
    ['groups']
    """
    found = list(sampled)
    for name, codes in (("groups", groups), ("readers", readers)):
        if codes is None:
            continue
        found = [way for way in found if not _within(way[1], codes)]
        if not any(_within(codes, way) for _, way in found):
            found.append((name, codes))
    return found


def _within(fine: Int64, coarse: Int64) -> bool:
    """Whether every unit of ``fine`` lies within a single unit of ``coarse``."""
    pairs = pd.DataFrame({"fine": fine, "coarse": coarse}).drop_duplicates()
    return len(pairs) == pairs["fine"].nunique()
