"""Numbers of texts, by first appearance, so that a text is identified by its number and not by its embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from causalopt.errors import ModelError
from causalopt.typing import Int64

Pair = tuple[str | None, str]


class TextIndex:
    """Numbers for pairs of prompt (None without prompts) and text, in the order of their first appearance.

    Copies of a model share it, so that all of them can read texts that are added later.

    Examples
    --------
    >>> from causalopt.nuisance.text_index import TextIndex
    >>> index = TextIndex()
    >>> index.ids(None, ["a cold day", "one night", "a cold day"]).tolist()
    [0, 1, 0]
    >>> index.read([1])
    [(None, 'one night')]
    """

    def __init__(self) -> None:
        self._ids: dict[Pair, int] = {}
        self._pairs: list[Pair] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __len__(self) -> int:
        return len(self._pairs)

    def ids(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Int64:
        """Return the number of each row's text, shape [n]; a new one gets the next number."""
        pairs = zip([None] * len(texts) if prompts is None else prompts, texts, strict=True)
        found = np.empty(len(texts), dtype=np.int64)
        for i, pair in enumerate(pairs):
            number = self._ids.setdefault(pair, len(self._pairs))
            if number == len(self._pairs):
                self._pairs.append(pair)
            found[i] = number
        return found

    def read(self, text_id: Sequence[int] | Int64) -> list[Pair]:
        """Prompt and text of each number.

        Raises
        ------
        ModelError
            For a number that no text has.
        """
        try:
            return [self._pairs[i] for i in text_id]
        except IndexError:
            raise ModelError(
                "an outcome model that reads texts was given an unknown text: fit it through "
                "PseudoOutcomeEstimator, which numbers the texts"
            ) from None
