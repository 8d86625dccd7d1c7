"""The sentences of the template world: all combinations of a few phrases in each of five slots."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from causalopt.typing import Float64, Int64

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
    """All sentences, and the phrase that each has in each slot.

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


def phrase_shares(texts: Sequence[str]) -> dict[str, Float64]:
    """Share of each phrase in any texts, for each slot of shape [n, phrases]; the shares of a text sum to one.

    A phrase is found if its words occur in the text, complete and in order; the punctuation at its end may be missing.
    The phrases of a slot that are found have equal shares, however often each occurs. If none is found, all phrases of
    the slot have equal shares, so that the text has the effect of the average phrase. A sentence of the grammar has a
    share of one for each of its phrases.

    Examples
    --------
    >>> from causalopt.simulation.grammar import phrase_shares
    >>> shares = phrase_shares(["Hello friend, Dear neighbor, join us", "spare one free hour, and feel"])
    >>> shares["greeting"].tolist()[0], shares["ask"].tolist()
    ([0.5, 0.0, 0.5], [[0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 1.0, 0.0]])
    """
    shares = {}
    for slot, phrases in SLOTS.items():
        words = [phrase.rstrip(",:.") for phrase in phrases]
        found = np.array([[phrase in text for text in texts] for phrase in words], dtype=bool).T
        counted = found | ~found.any(axis=1, keepdims=True)
        shares[slot] = counted / counted.sum(axis=1, keepdims=True)
    return shares
