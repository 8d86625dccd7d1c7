"""The arrays that nuisances are fitted on, validated once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from causalopt.arrays import LARGEST, as_embeddings, as_matrix, as_vector
from causalopt.data.folds import row_codes
from causalopt.errors import DataError
from causalopt.typing import Array, Embeddings, Float64, Int64


@dataclass(frozen=True, eq=False)
class Rows:
    """Embeddings x [n, d], covariates w [n, p], outcomes y, exposures weight, groups, text ids and prompt ids [n].

    Embeddings may be of float32, as an embedder makes them, or of float64.

    Rows with equal ``text_id`` have the same text (and prompt), rows with equal ``prompt_id`` the same prompt; it is
    None without prompts. With prompts, the last ``prompt_columns`` columns of x are the prompt's embedding.
    ``observed`` is whether each row has an outcome (None: all have one); y is nan in those that have none.
    """

    x: Embeddings
    w: Array
    y: Float64
    weight: Float64
    group: Int64
    text_id: Int64
    prompt_id: Int64 | None = None
    prompt_columns: int = 0
    observed: Array | None = None

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
        observed: Any = None,
    ) -> Self:
        """Check lengths, shapes and finiteness; the default weight is one, the default group the row itself.

        Groups and ids that are integers are kept as they are, so that two data sets can share them. Without
        ``text_id``, rows with equal embeddings count as one text. An outcome that was not observed is not looked at.

        Raises
        ------
        DataError
            With the array and the first invalid row.
        """
        x = as_embeddings("x", x)
        n = len(x)
        if n == 0:
            raise DataError("x has no rows")
        w = np.zeros((n, 0)) if w is None else as_matrix("w", w, n)
        if observed is not None:
            observed, y = _without_unobserved(observed, y, n)
        rated = np.ones(n, dtype=bool) if observed is None else observed
        y = np.where(rated, as_vector("y", y, n), np.nan)
        largest = float(np.abs(y[rated]).max())
        if largest > 0 and not 1 / LARGEST < largest < LARGEST:
            raise DataError(
                f"outcomes reach {largest:.3g} in size, and their squares are beyond double precision: give them in "
                "other units, or correct a code for missing values"
            )
        weight = np.ones(n) if weight is None else as_vector("weight", weight, n, below=np.inf)
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
            observed,
        )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def rated(self) -> Rows:
        """The rows that have an outcome."""
        return self if self.observed is None else self[self.observed]

    @property
    def has_outcome(self) -> Array:
        """Whether each row has an outcome, shape [n]."""
        return np.ones(len(self), dtype=bool) if self.observed is None else self.observed

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
            None if self.observed is None else self.observed[index],
        )


def _without_unobserved(observed: Any, y: Any, n: int) -> tuple[Array, Float64]:
    """Return ``observed`` as booleans [n], and outcomes [n] with zeros in the rows that have none."""
    flags = as_vector("observed", observed, n)
    wrong = (flags != 0) & (flags != 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"observed is {flags[row]:g} at row {row}: it must be 0 or 1, or false or true")
    if not flags.any():
        raise DataError(f"none of the {n} rows has an outcome: there is nothing to learn")
    outcome = np.asarray(y, dtype=np.float64)
    if outcome.shape != (n,):
        raise DataError(f"y has shape {outcome.shape}, where the other arrays have {n} rows")
    return flags == 1, np.where(flags == 1, outcome, 0.0)


def _codes(name: str, labels: Any, n: int) -> Int64:
    codes = np.asarray(labels)
    if codes.shape != (n,):
        raise DataError(f"{name} has shape {codes.shape}; it must hold one label for each of the {n} rows of x")
    return (codes if codes.dtype.kind in "iu" else pd.factorize(codes)[0]).astype(np.int64)
