"""What one cell of a table says: a number, a missing value, or something else."""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "."})
"""What stands for a missing number in text, in lower case: what R, pandas, Excel, SQL, Stata and SAS write."""


def number(cell: Any) -> float:
    """Read a cell as a number: nan where it is missing, 0 and 1 for a boolean.

    Raises
    ------
    ValueError
        When it is no number.

    Examples
    --------
    >>> from causalopt.data.cells import number
    >>> number(" 2.5 "), number(True), number("NA")
    (2.5, 1.0, nan)
    """
    if isinstance(cell, str):
        word = cell.strip().lower()
        if word in MISSING:
            return math.nan
        if word in ("true", "false"):
            return float(word == "true")
        if "_" in word:  # Python reads 1_000 as a number; a table means something else
            raise ValueError(f"{cell!r} is no number")
        return float(word)
    if isinstance(cell, Real | Decimal | np.bool_):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
    raise ValueError(f"{cell!r} is no number")
