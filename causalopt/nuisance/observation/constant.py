"""One rate of response for everybody."""

from __future__ import annotations

from typing import Self

import numpy as np

from causalopt.typing import Array, Float64


class ConstantObservation:
    """pi as the share of the rows whose outcome was observed: a claim that nothing decides who responds.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.observation.constant import ConstantObservation
    >>> x, w = np.zeros((4, 1)), np.zeros((4, 0))
    >>> observed, weight = np.array([1, 0, 0, 0]), np.array([1.0, 1.0, 1.0, 2.0])
    >>> ConstantObservation().fit(x, w, observed, weight).probability(x[:1], w[:1])
    array([0.2])
    """

    takes_float32 = True

    def fit(self, x: Array, w: Array, observed: Array, weight: Float64) -> Self:
        self.rate_ = float(np.average(observed, weights=weight))
        return self

    def probability(self, x: Array, w: Array) -> Float64:
        return np.full(len(x), self.rate_)
