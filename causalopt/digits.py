"""How numbers are printed: the one place for it, so that a number has the same digits wherever it appears."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def number(value: Any) -> str:
    """Format a number: three significant digits, thousands separators, a dash if there is none.

    Examples
    --------
    >>> number(0.012345), number(1234567), number(None), number(-2.5)
    ('0.0123', '1,234,567', '–', '−2.50')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        text = f"{value:,}"
    elif not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    elif value == 0:
        text = "0"
    elif abs(value) < 1e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return text.replace("-", "−")


def interval(part: Mapping[str, Any]) -> tuple[str, str, str]:
    """Format estimate, lower and upper end with the same number of decimals, determined by the interval's width.

    Examples
    --------
    >>> interval({"estimate": 56.31, "ci_low": 55.12, "ci_high": 57.43})
    ('56.3', '55.1', '57.4')
    """
    estimate, low, high = alike([part["estimate"], part["ci_low"], part["ci_high"]])
    return estimate, low, high


def change(part: Mapping[str, Any]) -> tuple[str, str, str]:
    """Format a difference like `interval`, with the sign of what is positive.

    Examples
    --------
    >>> change({"estimate": 0.2, "ci_low": -0.2, "ci_high": 0.6})
    ('+0.20', '−0.20', '+0.60')
    """
    estimate, low, high = (signed(text) for text in interval(part))
    return estimate, low, high


def plain(sentence: str) -> str:
    """Replace the minus sign by a hyphen, for sentences that are printed to terminals without Unicode, too.

    Examples
    --------
    >>> plain("by −0.25")
    'by -0.25'
    """
    return sentence.replace("−", "-")


def signed(text: str) -> str:
    """Put a plus before a formatted number that is positive.

    Examples
    --------
    >>> signed("0.50"), signed("−0.50"), signed("0"), signed("–")
    ('+0.50', '−0.50', '0', '–')
    """
    return f"+{text}" if any(digit in text for digit in "123456789∞") and not text.startswith("−") else text


def alike(values: Sequence[Any]) -> list[str]:
    """Format an estimate and the ends of its interval (the last two) with the same number of decimals.

    Examples
    --------
    >>> alike([0.3, 0.004, 0.6])  # an end that is not zero is not printed as zero: its sign is what is looked for
    ['0.300', '0.004', '0.600']
    """
    numbers = [float(value) for value in values]
    width = numbers[-1] - numbers[-2]
    if not all(map(math.isfinite, numbers)) or width <= 0:
        return list(map(number, numbers))
    decimals = min(max(0, 1 - math.floor(math.log10(width))), 8)
    while decimals < 8 and any(value != 0 and round(value, decimals) == 0 for value in numbers[-2:]):
        decimals += 1
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in numbers]


def percent(share: Any) -> str:
    """Format a share between 0 and 1 as a percentage.

    Examples
    --------
    >>> percent(0.1234), percent(None)
    ('12.3%', '–')
    """
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.3g}%".replace("-", "−")
