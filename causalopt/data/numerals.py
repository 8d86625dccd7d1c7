"""Columns of numbers as people write them: decimal commas, thousands, percent signs, words for missing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from causalopt.data.files import MISSING, number
from causalopt.typing import Float64

Decimal = Literal[".", ","]
_SIGNED = r"[+-]?"
_PLAIN = re.compile(rf"{_SIGNED}(\d+\.?\d*|\.\d+)(e{_SIGNED}\d+)?", re.IGNORECASE)
_COMMA_DECIMALS = re.compile(rf"{_SIGNED}(\d{{1,3}}(\.\d{{3}})+|\d+)(,\d+)?")
_COMMA_THOUSANDS = re.compile(rf"{_SIGNED}([1-9]\d{{0,2}}(,\d{{3}})+|\d+)(\.\d+)?")


class Written(NamedTuple):
    """Numbers [n], nan where missing, and how they are written, in words, if not as plain numbers."""

    numbers: Float64
    how: str | None


def read_numerals(cells: Sequence[Any], decimal: Decimal | None = None) -> Written | None:
    """Read a column as numbers if one way of writing them fits every cell that is not missing; None otherwise.

    Parameters
    ----------
    cells:
        Strings, numbers or None.
    decimal:
        The decimal mark, where the column leaves it open: "1,250" may be 1.25, and is 1250 otherwise.

    Examples
    --------
    >>> from causalopt.data.numerals import read_numerals
    >>> read_numerals(["4,5", None, "5"]).numbers.tolist()
    [4.5, nan, 5.0]
    >>> read_numerals(["40%", "7.5%"])
    Written(numbers=array([40. ,  7.5]), how='percentages')
    >>> read_numerals(["yes", "4"]) is None
    True
    """
    try:
        return Written(np.array([math.nan if cell is None else number(cell) for cell in cells]), None)
    except ValueError:
        pass
    words = [None if _is_missing(cell) else str(cell).strip().replace("\N{NO-BREAK SPACE}", " ") for cell in cells]
    filled = [word for word in words if word is not None]
    percent = bool(filled) and all(word.endswith("%") for word in filled)
    if percent:
        words = [None if word is None else word[:-1].strip() for word in words]
        filled = [word for word in words if word is not None]
    how = ["percentages"] if percent else []
    if all(_PLAIN.fullmatch(word) for word in filled):
        return Written(_read(words, "", "."), how[0]) if how else None
    if decimal != "," and all(_COMMA_THOUSANDS.fullmatch(word) for word in filled):
        return Written(_read(words, ",", "."), " and ".join([*how, "commas between thousands"]))
    if decimal != "." and all(_COMMA_DECIMALS.fullmatch(word) for word in filled):
        return Written(_read(words, ".", ","), " and ".join([*how, "decimal commas"]))
    return None


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or str(cell).strip().lower() in MISSING


def _read(words: Sequence[str | None], thousands: str, decimal: str) -> Float64:
    plain = [None if word is None else word.replace(thousands, "").replace(decimal, ".") for word in words]
    return np.array([math.nan if word is None else float(word) for word in plain])
