"""Tables whose rows are no readings yet: raters as columns, and values inside of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from causalopt.errors import DataError
from causalopt.suggestion import did_you_mean

RATER = "rater"
"""Column that names the rater in a table that was made long."""


def long_of(frame: pd.DataFrame, raters: Sequence[str], outcome: str, source: str) -> pd.DataFrame:
    """Make a row for each cell of the columns ``raters``: the cell as ``outcome``, the column's name as ``rater``.

    Rows keep their order, and an empty cell makes no row, as that rater gave no answer.

    Raises
    ------
    DataError
        If a column is missing, or the table has a column of the new names.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.shape import long_of
    >>> long_of(pd.DataFrame({"text": ["a", "b"], "ann": [1, 2], "bob": [3, None]}), ["ann", "bob"], "rating", "frame")
      text rater  rating
    0    a   ann     1.0
    1    a   bob     3.0
    2    b   ann     2.0
    """
    for column in raters:
        if column not in frame.columns:
            hint = did_you_mean(column, frame.columns)
            raise DataError(f"{source}: there is no column {column!r} of a rater (data.wide){hint}")
    kept = [column for column in frame.columns if column not in raters]
    for name in (RATER, outcome):
        if name in kept:
            raise DataError(
                f"{source}: has a column {name!r} beside those of the raters (data.wide), which would become one; "
                "rename it, or name another outcome"
            )
    order = frame.index.to_numpy()
    long = frame.assign(**{"\0row": order}).melt(
        id_vars=[*kept, "\0row"], value_vars=list(raters), var_name=RATER, value_name=outcome
    )
    long = long.sort_values("\0row", kind="stable").drop(columns="\0row")
    cells = long[outcome]
    there = cells.notna() & ~cells.map(lambda cell: isinstance(cell, str) and not cell.strip())
    return long[there].reset_index(drop=True)


def with_nested(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Add the columns that ``names`` give by a path, such as ``feedback.score``, from columns of JSON objects.

    A row without the value has None. A name that is a column, or whose first part is none, is left alone.
    """
    for name in names:
        first, *rest = name.split(".")
        if name in frame.columns or not rest or first not in frame.columns:
            continue
        if any(isinstance(cell, dict) for cell in frame[first]):
            frame = frame.assign(**{name: pd.Series([_at(cell, rest) for cell in frame[first]], dtype=object)})
    return frame


def nested_names(frame: pd.DataFrame) -> list[str]:
    """Paths of all values inside of the columns of JSON objects, by first appearance.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.shape import nested_names
    >>> nested_names(pd.DataFrame({"id": [1, 2], "feedback": [{"score": 3}, {"score": 4, "by": {"plan": "free"}}]}))
    ['feedback.score', 'feedback.by.plan']
    """
    found: dict[str, None] = {}
    for column in frame.columns:
        for cell in frame[column]:
            if isinstance(cell, dict):
                found |= dict.fromkeys(_paths(cell, str(column)))
    return list(found)


def _paths(cell: dict[str, Any], above: str) -> Iterator[str]:
    for key, value in cell.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{above}.{key}")
        else:
            yield f"{above}.{key}"


def _at(cell: Any, path: Sequence[str]) -> Any:
    for key in path:
        if not isinstance(cell, dict):
            return None
        cell = cell.get(key)
    return cell
