"""Rows in blocks, so that what is computed from all rows at once never takes the memory of a second table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from causalopt.typing import Array, Float64

ROWS = 8192
"""Rows of a block: their columns fit a processor's cache, and a table of no more rows is computed in one piece."""


def blocks(n: int, rows: int = ROWS) -> Iterator[slice]:
    """Yield the slices of n rows, in order.

    Examples
    --------
    >>> from causalopt.blocks import blocks
    >>> list(blocks(5, rows=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def by_blocks(function: Callable[..., Float64], *arrays: Array, rows: int = ROWS) -> Float64:
    """Apply a function of rows, whose value for a row depends on that row alone, a block at a time.

    Parameters
    ----------
    function:
        Takes blocks of ``arrays`` and returns an array with a row for each of theirs.
    arrays:
        Of n rows each.
    rows:
        Rows of a block.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.blocks import by_blocks
    >>> by_blocks(lambda x, y: x.sum(axis=1) + y, np.ones((5, 2)), np.arange(5.0), rows=2)
    array([2., 3., 4., 5., 6.])
    """
    n = len(arrays[0])
    if n <= rows:
        return function(*arrays)
    found: Float64 | None = None
    for block in blocks(n, rows):
        part = function(*(array[block] for array in arrays))
        if found is None:
            found = np.empty((n, *part.shape[1:]), dtype=part.dtype)
        found[block] = part
    assert found is not None
    return found
