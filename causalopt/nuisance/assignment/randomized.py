"""Texts that were assigned at random, which needs no model."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.typing import Array, Float64


class RandomizedAssignment(BaseEstimator):  # type: ignore[misc]
    """s = 1: the text a reader was shown does not depend on who the reader is.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.randomized import RandomizedAssignment
    >>> x, w = np.zeros((2, 1)), np.zeros((2, 1))
    >>> RandomizedAssignment().fit(x, w, np.ones(2)).stabilized_weight(x, w)
    array([1., 1.])
    """

    takes_float32 = True

    def fit(self, x: Array, w: Array, weight: Float64) -> Self:
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        return np.ones(len(x))
