"""Small data sets on which parts are checked."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from causalopt.typing import Array, Float64


class Sample(NamedTuple):
    """Rows of texts and readers that depend on each other, and their outcomes; the arrays are read-only."""

    x: Array
    w: Array
    y: Float64
    weight: Float64


def sample(seed: int, n: int = 150, covariates: int = 2, dependence: float = 0.7) -> Sample:
    """Draw x [n, 4] given w [n, covariates], and y = x_1 + w_1 + noise."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, covariates))
    x = rng.normal(size=(n, 4))
    level = w[:, 0] if covariates else np.zeros(n)
    x[:, 0] += dependence * level
    drawn = Sample(x, w, x[:, 0] + level + 0.3 * rng.normal(size=n), np.ones(n))
    for array in drawn:
        array.flags.writeable = False
    return drawn


def equal(one: Float64, other: Float64) -> bool:
    """Whether two results are equal up to rounding."""
    return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12))
