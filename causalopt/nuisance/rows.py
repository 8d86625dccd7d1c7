"""The arrays that nuisances are fitted on, validated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from causalopt.arrays import as_matrix, as_vector
from causalopt.data.folds import row_codes
from causalopt.data.validation import LARGEST_OUTCOME
from causalopt.errors import DataError
from causalopt.typing import Array, Float64, Int64


@dataclass(frozen=True, eq=False)
class Rows:
    """Embeddings x [n, d], covariates w [n, p], outcomes y, exposures weight, groups, text ids and prompt ids [n].

    Rows with equal ``text_id`` have the same text (and prompt), rows with equal ``prompt_id`` the same prompt; it is
    None without prompts. With prompts, the last ``prompt_columns`` columns of x are the prompt's embedding.
    """

    x: Array
    w: Array
    y: Float64
    weight: Float64
    group: Int64
    text_id: Int64
    prompt_id: Int64 | None = None
    prompt_columns: int = 0

    @classmethod
    def of(
        cls,
        x: Any,
        w: Any,
        y: Any,
        weight: Any = None,
        group: Any = None,
        text_id: Any = None,
        prompt_id: Any = None,
        prompt_columns: int = 0,
    ) -> Self:
        """Check lengths, shapes and finiteness; the default weight is one, the default group the row itself.

        Groups and ids that are integers are kept as they are, so that two data sets can share them. Without
        ``text_id``, rows with equal embeddings count as one text.

        Raises
        ------
        DataError
            With the array and the first invalid row.
        """
        x = as_matrix("x", x)
        n = len(x)
        if n == 0:
            raise DataError("x has no rows")
        w = np.zeros((n, 0)) if w is None else as_matrix("w", w, n)
        y = as_vector("y", y, n)
        largest = float(np.abs(y).max())
        if largest > 0 and not 1 / LARGEST_OUTCOME < largest < LARGEST_OUTCOME:
            raise DataError(
                f"outcomes reach {largest:.3g} in size, and their squares are beyond double precision: give them in "
                "other units, or correct a code for missing values"
            )
        weight = np.ones(n) if weight is None else as_vector("weight", weight, n)
        if (weight < 0).any():
            raise DataError(f"weight is negative at row {int(np.argmax(weight < 0))}: weights are exposures")
        if not 0 <= prompt_columns <= x.shape[1]:
            raise DataError(f"prompt_columns is {prompt_columns}, where x has {x.shape[1]} columns")
        if (prompt_id is None) != (prompt_columns == 0):
            raise DataError("prompt_id and prompt_columns come together: which rows share a prompt, and its embedding")
        return cls(
            x,
            w,
            y,
            weight,
            _codes("group", np.arange(n) if group is None else group, n),
            row_codes(x) if text_id is None else _codes("text_id", text_id, n),
            None if prompt_id is None else _codes("prompt_id", prompt_id, n),
            prompt_columns,
        )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Array) -> Rows:
        return Rows(
            self.x[index],
            self.w[index],
            self.y[index],
            self.weight[index],
            self.group[index],
            self.text_id[index],
            None if self.prompt_id is None else self.prompt_id[index],
            self.prompt_columns,
        )


def _codes(name: str, labels: Any, n: int) -> Int64:
    codes = np.asarray(labels)
    if codes.shape != (n,):
        raise DataError(f"{name} has shape {codes.shape}; it must hold one label for each of the {n} rows of x")
    return (codes if codes.dtype.kind in "iu" else pd.factorize(codes)[0]).astype(np.int64)
