"""Outcomes in words: a mapping to numbers is applied where it is given, and proposed where it is not."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from causalopt.data.files import MISSING
from causalopt.data.numerals import read_numerals
from causalopt.errors import ConfigError, DataError
from causalopt.signatures import shown

PAIRS = (
    ("no", "yes"), ("n", "y"), ("down", "up"), ("thumbs down", "thumbs up"), ("thumbs_down", "thumbs_up"),
    ("👎", "👍"), ("dislike", "like"), ("bad", "good"), ("negative", "positive"), ("fail", "pass"),
    ("incorrect", "correct"), ("rejected", "accepted"), ("unhelpful", "helpful"), ("false", "true"),
)  # fmt: skip
"""The lower word and the higher one."""
DEGREES = (
    (-3, r"(strongly|completely|totally|extremely|very) (?:{low})"),
    (-2, r"(?:{low})"),
    (-1, r"(somewhat|slightly|rather|mildly|a little) (?:{low})"),
    (0, r"neither.*|neutral|undecided|unsure|no opinion|in between|mixed"),
    (1, r"(somewhat|slightly|rather|mildly|a little) (?:{high})"),
    (2, r"(?:{high})"),
    (3, r"(strongly|completely|totally|extremely|very) (?:{high})"),
)
POLES = (
    ("disagree|oppose", "agree|support"),
    ("dissatisfied|unhappy", "satisfied|happy"),
    ("unlikely", "likely"),
    ("unhelpful", "helpful"),
    ("unconvincing|unpersuasive", "convincing|persuasive"),
    ("bad|negative|poor", "good|positive"),
    ("unimportant", "important"),
)
ORDERS = (
    ("very poor", "poor", "fair", "good", "very good", "excellent"),
    ("never", "rarely", "sometimes", "often", "always"),
    ("not at all", "slightly", "a little", "somewhat", "moderately", "very", "very much", "extremely"),
    ("very low", "low", "medium", "high", "very high"),
)
"""Scales whose words have no poles, from the lowest."""
_LEADING = re.compile(r"\(?([+-]?\d+(?:\.\d+)?)\)?\s*(?:[-–—:=.)(]|\s)\s*\S.*")


def propose_map(words: Collection[str]) -> dict[str, float] | None:
    """Propose a number for each word of an outcome, or None if no known scale holds all of them.

    Two words are 0 and 1; words that begin with a number have that number; agreement, satisfaction, likelihood and the
    like are numbered from 1, in their order, by the degrees that occur.

    Examples
    --------
    >>> from causalopt.data.outcome_words import propose_map
    >>> propose_map(["Agree", "Strongly agree", "Disagree", "Neither"])
    {'Disagree': 1.0, 'Neither': 2.0, 'Agree': 3.0, 'Strongly agree': 4.0}
    >>> propose_map(["4 - good", "5 - great"])
    {'4 - good': 4.0, '5 - great': 5.0}
    >>> propose_map(["red", "blue"]) is None
    True
    """
    words = sorted(set(words))
    plain = {word: re.sub(r"\s+", " ", word.strip().lower()) for word in words}
    if len(plain) < 2 or len(set(plain.values())) < len(plain):
        return None
    leading = {word: _LEADING.fullmatch(word.strip()) for word in words}
    if all(leading.values()):
        found = {word: float(match.group(1)) for word, match in leading.items() if match}
        return _sorted(found) if len(set(found.values())) == len(found) else None
    for pair in PAIRS:
        if set(plain.values()) == set(pair):
            return _sorted({word: float(pair.index(plain[word])) for word in words})
    for low, high in POLES:
        degree = {word: _degree(plain[word], low, high) for word in words}
        if all(value is not None for value in degree.values()):
            return _numbered({word: float(value) for word, value in degree.items() if value is not None})
    for order in ORDERS:
        if set(plain.values()) <= set(order):
            return _numbered({word: float(order.index(plain[word])) for word in words})
    return None


def check_map(mapping: Any) -> dict[str, float] | None:
    """Return an ``outcome_map`` with its words as strings; `ConfigError` unless it maps words to finite numbers."""
    if mapping is None:
        return None
    if not isinstance(mapping, Mapping) or not mapping:
        raise ConfigError(f"outcome_map must map words to numbers, such as {{no: 0, yes: 1}}, not {shown(mapping)}")
    for word, value in mapping.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"outcome_map: {word!r} must be given a finite number, not {shown(value)}")
    return {_word(word): float(value) for word, value in mapping.items()}


def as_numbers(cells: pd.Series, mapping: Mapping[str, float] | None, column: str, source: str) -> pd.Series:
    """Return the outcomes with every word replaced by its number; a missing cell stays missing.

    Raises
    ------
    DataError
        If a word has no number: with the mapping to add, where the words are a known scale.
    """
    filled = cells[cells.map(lambda cell: not _is_missing(cell))]
    if mapping is not None:
        unknown = filled[~filled.map(_word).isin(list(mapping))]
        if len(unknown):
            raise DataError(
                f"{source}: column {column!r}, row {int(unknown.index[0]) + 1} is {unknown.iloc[0]!r}, which "
                f"outcome_map does not have ({len(unknown)} such rows)"
            )
        return cells.astype(object).where(~cells.index.isin(filled.index), cells.map(_word).map(mapping))
    words = set(filled) if all(isinstance(cell, str) for cell in filled) else set()
    proposed = None if read_numerals(list(words)) is not None else propose_map(words)
    if proposed is not None:
        written = ", ".join(f"{word!r}: {value:g}" for word, value in proposed.items())
        raise DataError(
            f"{source}: column {column!r} holds words; give them numbers, such as data.outcome_map: {{{written}}}"
        )
    return cells


def has_words_of(cells: pd.Series, mapping: Mapping[str, float] | None) -> bool:
    """Whether some cell is a word that an ``outcome_map`` has."""
    return mapping is not None and any(_word(cell) in mapping for cell in cells if not _is_missing(cell))


def _word(cell: Any) -> str:
    return str(cell).strip().lower() if isinstance(cell, bool) else str(cell).strip()


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or str(cell).strip().lower() in MISSING


def _degree(word: str, low: str, high: str) -> int | None:
    return next((n for n, form in DEGREES if re.fullmatch(form.format(low=low, high=high), word)), None)


def _numbered(degree: Mapping[str, float]) -> dict[str, float] | None:
    """Give words numbers from 1 in the order of their degrees; None if two have the same."""
    if len(set(degree.values())) < len(degree):
        return None
    return {word: float(i) for i, word in enumerate(sorted(degree, key=degree.__getitem__), start=1)}


def _sorted(found: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(found.items(), key=lambda one: one[1]))
