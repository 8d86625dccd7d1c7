"""Attributes of a text by the words that it contains."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from causalopt.errors import ConfigError


class LexiconCoder(BaseEstimator):  # type: ignore[misc]
    """An attribute is 1 in a text that contains one of its words, and 0 in any other.

    Parameters
    ----------
    words:
        For each attribute its words or phrases. Case does not matter, and a trailing ``*`` stands for any ending
        ("econom*": economy, economic), as in the dictionaries of LIWC (Tausczik and Pennebaker 2010).

    Raises
    ------
    ConfigError
        If there is no attribute, or an attribute has no words.

    Examples
    --------
    >>> from causalopt.embedding.lexicon import LexiconCoder
    >>> coder = LexiconCoder({"thanks": ["thank*", "much obliged"], "haste": ["now"]})
    >>> coder.code(["Thanks. Now go!", "I know."]).to_dict("list")
    {'thanks': [1.0, 0.0], 'haste': [1.0, 0.0]}
    """

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self.words = words
        if not isinstance(words, Mapping) or not words:
            raise ConfigError("attribute coder 'lexicon': words must name an attribute, such as {thanks: [thank*]}")
        self._patterns = {name: _pattern(name, entries) for name, entries in words.items()}

    def code(self, texts: Sequence[str]) -> pd.DataFrame:
        """Code n texts: a column of 0 and 1 for each attribute."""
        return pd.DataFrame(
            {
                name: np.array([pattern.search(text) is not None for text in texts], dtype=np.float64)
                for name, pattern in self._patterns.items()
            }
        )


def _pattern(name: str, entries: Sequence[str]) -> re.Pattern[str]:
    listed = isinstance(entries, Sequence) and not isinstance(entries, str)
    if not listed or not entries or not all(isinstance(e, str) and e.strip("* ") for e in entries):
        raise ConfigError(f"attribute coder 'lexicon': words of {name!r} must be a list of words, such as [thank*]")
    words = (
        re.escape(entry.strip().rstrip("*")) + (r"\w*" if entry.strip().endswith("*") else "") for entry in entries
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE)
