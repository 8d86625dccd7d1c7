"""Covariates that are written as words and hold numbers or dates, and those that only name their rows."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.files import number
from causalopt.data.numerals import Decimal, Written, read_numerals
from causalopt.errors import CausalOptWarning, DataError
from causalopt.typing import Float64

MOST_WORDS = 3
"""Different words, such as "prefer not to say", that a column of numbers may hold."""
SHARE_OF_NUMBERS = 0.9
NAMES = 0.9
"""A column of words with more different ones than this share of its rows names its rows."""
FEWEST_NAMES = 20


def as_numbers(cells: Sequence[Any], column: str, source: str, decimal: Decimal | None) -> Float64 | None:
    """Return a column that is written as words but holds percentages, dates or the like; None for categories.

    A column of words that are plain numbers is one of categories: a table that is not plain text writes its numbers as
    such.

    Warns
    -----
    CausalOptWarning
        With how the column was read.
    """
    written = read_numerals(cells, decimal)
    if written is not None:
        if written.how is None:
            return None
        say_how(cells, written, column, source)
        return written.numbers
    dates = as_dates(cells)
    if dates is not None:
        _say(f"{source}: column {column!r} holds dates, which count as days since 1970-01-01")
        return dates
    return _numbers_but_for_words(cells, column, source)


def say_how(cells: Sequence[Any], written: Written, column: str, source: str) -> None:
    """Warn of how numbers are written, with an example."""
    place = next(i for i, cell in enumerate(cells) if isinstance(cell, str) and not _plain(cell))
    wrong = "; if that is wrong, name the mark (data.decimal)" if "commas" in str(written.how) else ""
    _say(
        f"{source}: column {column!r} is written with {written.how}: {cells[place]!r} is {written.numbers[place]:.15g}"
        f"{wrong}"
    )


def refuse_names(labels: pd.Series, column: str, source: str) -> None:
    """Raise `DataError` for a column of words in which almost every row has its own."""
    known = labels.dropna()
    if len(known) >= FEWEST_NAMES and known.nunique() > NAMES * len(known):
        raise DataError(
            f"{source}: column {column!r} has {known.nunique()} values in {len(known)} rows: it names the rows, and is "
            "no covariate; leave it out (if it names the reader, it is data.reader)"
        )


def as_dates(cells: Sequence[Any]) -> Float64 | None:
    """Days since 1970-01-01 if every cell that is there is an ISO date, else None."""
    words = pd.Series([None if cell is None else str(cell).strip() for cell in cells], dtype=object)
    if not words.dropna().str.match(r"\d{4}-\d{2}-\d{2}").all():
        return None
    dates = pd.to_datetime(words, format="ISO8601", utc=True, errors="coerce")
    if (dates.isna() & words.notna()).any():
        return None
    days = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return np.asarray(days, dtype=np.float64)


def _numbers_but_for_words(cells: Sequence[Any], column: str, source: str) -> Float64 | None:
    """Numbers in which few different words stand for a missing answer, else None."""
    words = Counter(cell for cell in cells if isinstance(cell, str) and not _plain(cell))
    filled = sum(cell is not None for cell in cells)
    worded = len(words) <= MOST_WORDS and not any(mark.isdigit() for word in words for mark in word)  # not "80+"
    if not words or not worded or filled - words.total() < SHARE_OF_NUMBERS * filled:
        return None
    named = ", ".join(map(repr, words))
    _say(
        f"{source}: column {column!r} holds numbers but in {words.total()} rows ({named}), which count as missing; "
        "give the column categories instead if the words matter"
    )
    return np.array([np.nan if cell is None or cell in words else number(cell) for cell in cells])


def _plain(cell: Any) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _say(sentence: str) -> None:
    warnings.warn(sentence, CausalOptWarning, stacklevel=2)
