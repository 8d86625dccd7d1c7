"""The sentences of the template world: five slots, each with a few phrases, in every combination."""

from __future__ import annotations

from itertools import product

import numpy as np

from causalopt.typing import Int64

SLOTS: dict[str, tuple[str, ...]] = {
    "greeting": ("Dear neighbor,", "Good morning,", "Hello friend,"),
    "appeal": (
        "hungry children are waiting:",
        "this winter looks harsh:",
        "generous people sleep better:",
        "our shelter turns forty:",
        "donors change real lives:",
    ),
    "evidence": (
        "each dollar buys four meals,",
        "nine gifts in ten arrive,",
        "auditors praise every account,",
        "Nurse Rosa sees it daily,",
        "thousands ate here last year,",
    ),
    "ask": ("please give today", "join us monthly", "spare one free hour", "pledge twenty coins"),
    "tone": (
        "with warm thanks.",
        "before spring comes.",
        "only if able.",
        "and feel proud.",
        "no strings attached.",
        "together we win.",
    ),
}


def sentences() -> tuple[list[str], Int64]:
    """All sentences, and which phrase each has in each slot.

    Returns
    -------
    texts, phrase:
        k sentences, and the phrases' positions, shape [k, number of slots].

    Examples
    --------
    >>> from causalopt.simulation.grammar import sentences
    >>> texts, phrase = sentences()
    >>> len(texts), phrase.shape
    (1800, (1800, 5))
    >>> texts[0][:42]
    'Dear neighbor, hungry children are waiting'
    """
    texts = [" ".join(phrases) for phrases in product(*SLOTS.values())]
    phrase = np.array(list(product(*(range(len(phrases)) for phrases in SLOTS.values()))), dtype=np.int64)
    return texts, phrase
