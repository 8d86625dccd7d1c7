"""Rows of a table that repeat, kept once each: readers are many, and the texts that they read are few."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalopt.typing import Array, Int32, Int64


class RepeatedRows:
    """Rows of ``table`` [k, d] at the positions ``code`` [n], in the place of an array [n, d].

    An index of rows, or of rows and columns, gives the same of these, without any copy of the table; ``np.asarray``
    makes the array.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.repeated import RepeatedRows
    >>> rows = RepeatedRows(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([0, 1, 0]))
    >>> rows.shape, np.asarray(rows[1:]).tolist()
    ((3, 2), [[3.0, 4.0], [1.0, 2.0]])
    """

    def __init__(self, table: Array, code: Int32 | Int64) -> None:
        self.table, self.code = table, code.astype(np.int32, copy=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of columns."""
        return len(self.code), self.table.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.table.dtype

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, index: Any) -> Any:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        table = self.table if columns == slice(None) else self.table[:, columns]
        return table[self.code[rows]] if isinstance(rows, int | np.integer) else RepeatedRows(table, self.code[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.table[self.code], dtype=dtype)
