"""Distinct texts as the arms of a treatment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from causalopt.errors import ConfigError, DataError
from causalopt.typing import Array, Int64


@dataclass(frozen=True)
class Arms:
    """Codes of the distinct rows of an embedding, in their lexicographic order.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.coded import Arms
    >>> Arms.of(np.array([[2.0], [1.0], [2.0]]), most=5).codes(np.array([[2.0], [1.0]])).tolist()
    [1, 0]
    """

    position: dict[bytes, int]

    @classmethod
    def of(cls, x: Array, most: int) -> Self:
        """List the arms; more than ``most`` of them raise `ConfigError`."""
        distinct = np.unique(np.asarray(x, dtype=np.float64), axis=0)
        if len(distinct) > most:
            raise ConfigError(
                f"a model of arms compares at most {most} texts that are each read often, and there are "
                f"{len(distinct)} distinct ones: use a model of the embedding"
            )
        return cls({row.tobytes(): i for i, row in enumerate(distinct + 0.0)})

    @property
    def count(self) -> int:
        return len(self.position)

    def codes(self, x: Array) -> Int64:
        """Position of each row among the arms, shape [n]; a row that is none of them raises `DataError`."""
        rows = np.asarray(x, dtype=np.float64) + 0.0
        try:
            return np.array([self.position[row.tobytes()] for row in rows], dtype=np.int64)
        except KeyError:
            raise DataError(
                "a text is none of the arms that the model was fitted on: with few texts, name a group column such as "
                "the reader, so that every fold has rows of every text"
            ) from None
