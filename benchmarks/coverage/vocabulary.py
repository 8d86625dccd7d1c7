"""Texts of the generators: words in any order and number, of which some are frequent and most are rare."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from causalopt.typing import Float64

WORDS = [
    "the", "we", "you", "today", "river", "help", "garden", "winter", "every", "please", "old", "bread", "friend",
    "letter", "morning", "share", "small", "light", "gift", "school", "walk", "open", "road", "market", "story",
    "paper", "blue", "autumn", "music", "table", "bridge", "kitchen", "harvest", "quiet", "neighbor", "window",
    "travel", "doctor", "silver", "honest", "engine", "island", "candle", "meadow", "future", "copper", "planet",
    "ribbon",
]  # fmt: skip
FREQUENCY = 1 / np.arange(2, len(WORDS) + 2)


def texts(count: int, rng: np.random.Generator, shortest: int = 4, longest: int = 9) -> list[str]:
    """Draw distinct texts of 4 to 9 different words; frequent words as in Zipf's law."""
    found: dict[str, None] = {}
    while len(found) < count:
        size = int(rng.integers(shortest, longest + 1))
        words = rng.choice(WORDS, size, replace=False, p=FREQUENCY / FREQUENCY.sum())
        found[" ".join(words)] = None
    return list(found)


def counts(strings: list[str]) -> Float64:
    """Return which words each text has, shape [k, number of words]; words of no plea do not count."""
    return _counts(tuple(strings)).copy()


@lru_cache(maxsize=8)  # a law asks for the words of the same texts and prompts some hundred times
def _counts(strings: tuple[str, ...]) -> Float64:
    position = {word: j for j, word in enumerate(WORDS)}
    held = np.zeros((len(strings), len(WORDS)))
    for i, string in enumerate(strings):
        held[i, [position[word] for word in string.split() if word in position]] = 1.0
    return held
