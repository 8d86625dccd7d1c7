"""Distinct texts as the arms of a treatment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.spatial.distance import cdist

from causalopt.data.folds import row_codes
from causalopt.errors import ConfigError, DataError
from causalopt.typing import Array, Float64, Int64

ROUNDING = 1e-5
"""Largest distance of two vectors of one arm, as a share of the longest: what float32 leaves of equal texts."""


@dataclass(frozen=True, eq=False)
class Arms:
    """Distinct rows of an embedding, in the order of their first appearance, shape [arms, d].

    Rows are told apart by their distance, never by their bytes: equal texts may differ in the last bit.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.coded import Arms
    >>> Arms.of(np.array([[2.0], [1.0], [2.0]]), most=5).codes(np.array([[2.0], [1.0]])).tolist()
    [0, 1]
    """

    rows: Float64

    @classmethod
    def of(cls, x: Array, most: int) -> Self:
        """List the arms; more than ``most`` of them raise `ConfigError`."""
        x = np.asarray(x, dtype=np.float64)
        codes = row_codes(x)
        distinct = x[np.unique(codes, return_index=True)[1]]
        kept: list[Array] = []
        for row in distinct:
            if len(kept) > most:
                break
            if not kept or _distance(row[None], np.stack(kept)).min() > ROUNDING:
                kept.append(row)
        if len(kept) > most:
            raise ConfigError(
                f"a model of arms compares at most {most} texts that are each read often, and there are "
                f"{len(distinct)} distinct ones: use a model of the embedding"
            )
        return cls(np.stack(kept))

    @property
    def count(self) -> int:
        return len(self.rows)

    def known(self, x: Array) -> Array:
        """Whether each row is one of the arms, shape [n]."""
        return np.asarray(_distance(np.asarray(x, dtype=np.float64), self.rows).min(axis=1) <= ROUNDING)

    def codes(self, x: Array) -> Int64:
        """Position of each row among the arms, shape [n]; a row that is none of them raises `DataError`."""
        distance = _distance(np.asarray(x, dtype=np.float64), self.rows)
        if (distance.min(axis=1) > ROUNDING).any():
            raise DataError(
                "a text is none of the arms that the model was fitted on: with few texts, name a group column such as "
                "the reader, so that every fold has rows of every text"
            )
        return np.asarray(distance.argmin(axis=1), dtype=np.int64)


def _distance(x: Float64, rows: Float64) -> Float64:
    """Distances as a share of the length of the longest row, shape [n, arms]."""
    scale = float(np.sqrt((rows**2).sum(axis=1).max(initial=0.0))) or 1.0
    return np.asarray(cdist(x, rows) / scale, dtype=np.float64)
