"""Numbers that are codes for a missing answer, as -99 in many surveys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from causalopt.data.files import number
from causalopt.errors import ConfigError, DataError
from causalopt.signatures import shown

_USUAL = (7, 8, 9, 77, 88, 97, 98, 99, 777, 888, 999, 9999)
CODES = frozenset({-1, *(-code for code in _USUAL), *(code for code in _USUAL if code > 9)})
"""Codes that statistical packages and survey houses use."""
FEWEST = 2
"""Rows with the same code from which it is one."""


def check_missing_values(values: Any) -> tuple[Any, ...] | None:
    """Return ``missing_values``; `ConfigError` unless it is a list of numbers and words."""
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"missing_values must be a list, such as [-99], not {shown(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ConfigError(f"missing_values must be a list of numbers and words, and holds {shown(value)}")
    return tuple(values)


def without_codes(cells: pd.Series, codes: Sequence[Any]) -> pd.Series:
    """Replace by None what is one of ``codes``, written as a number or a word."""
    words = {str(code).strip() for code in codes}
    numbers = {float(code) for code in codes if not isinstance(code, str)}

    def is_code(cell: Any) -> bool:
        if str(cell).strip() in words:
            return True
        try:
            return not isinstance(cell, bool) and number(cell) in numbers
        except ValueError:
            return False

    coded = cells.map(is_code).astype(bool)
    return cells.astype(object).where(~coded, None) if coded.any() else cells


def refuse_codes(outcome: pd.Series, column: str, source: str) -> None:
    """Raise `DataError` if some outcomes are a usual code and stand apart, so that they may be no responses.

    A code stands apart if it is further from all other outcomes than these are from each other.
    """
    counts = outcome.dropna().value_counts()
    values = sorted(counts.index)
    if len(values) < 3:
        return
    for code, rest in ((values[0], values[1:]), (values[-1], values[:-1])):
        gap = min(abs(code - other) for other in (rest[0], rest[-1]))
        if code in CODES and counts[code] >= FEWEST and gap > rest[-1] - rest[0]:
            raise DataError(
                f"{source}: column {column!r} is {code:g} in {counts[code]} rows and {rest[0]:g} to {rest[-1]:g} in "
                f"all others: if it stands for no answer, set data.missing_values: [{code:g}]; if it is one, "
                "data.missing_values: []"
            )
