"""The arrays that nuisances are fitted on, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.typing import Array, Float64, Int64


@dataclass(frozen=True, eq=False)
class Rows:
    """Embeddings x [n, d], encoded covariates w [n, p], outcomes y [n], exposures weight [n], and groups [n]."""

    x: Array
    w: Array
    y: Float64
    weight: Float64
    group: Int64

    @classmethod
    def of(cls, x: Any, w: Any, y: Any, weight: Any = None, group: Any = None) -> Self:
        """Check lengths, shapes and finiteness; the default weight is one, the default group the row itself.

        Groups that are integers are kept as they are, so that two data sets can share them.

        Raises
        ------
        DataError
            Names the array and the first row at fault.
        """
        x = as_array("x", x, ndim=2)
        n = len(x)
        if n == 0:
            raise DataError("x has no rows")
        w = np.zeros((n, 0)) if w is None else as_array("w", w, n, ndim=2)
        y = as_array("y", y, n)
        weight = np.ones(n) if weight is None else as_array("weight", weight, n)
        if (weight < 0).any():
            raise DataError(f"weight is negative at row {int(np.argmax(weight < 0))}: weights are exposures")
        if group is None:
            group = np.arange(n)
        codes = np.asarray(group)
        if codes.shape != (n,):
            raise DataError(f"group has shape {codes.shape}; it must hold one label for each of the {n} rows of x")
        if codes.dtype.kind not in "iu":
            codes = pd.factorize(codes)[0]
        return cls(x, w, y, weight, codes.astype(np.int64))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Array) -> Rows:
        return Rows(self.x[index], self.w[index], self.y[index], self.weight[index], self.group[index])


def as_array(name: str, values: Any, n: int | None = None, ndim: int = 1) -> Float64:
    """Return ``values`` as finite float64 with ``ndim`` dimensions and ``n`` rows, or raise `DataError`."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array of numbers: {error}") from error
    if array.ndim != ndim:
        raise DataError(f"{name} must have {ndim} dimensions, not shape {array.shape}")
    if n is not None and len(array) != n:
        raise DataError(f"{name} has {len(array)} rows, where x has {n}")
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise DataError(f"{name} is not finite at row {row} ({int(bad.sum())} such values)")
    return array
