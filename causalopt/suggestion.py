"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 200
"""Characters of a name that are compared: the time grows with their square."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return " (did you mean 'x'?)" with the nearest known name, or an empty string if none is near.

    Examples
    --------
    >>> from causalopt.suggestion import did_you_mean
    >>> did_you_mean("outcom", ["text", "outcome"]), did_you_mean("zebra", ["text", "outcome"])
    (" (did you mean 'outcome'?)", '')
    """
    close = difflib.get_close_matches(str(name)[:LONGEST], [str(one)[:LONGEST] for one in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
