"""Array types used across the package."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Array = NDArray[Any]
Embeddings = Any
"""Embeddings [n, d]: an array, or `causalopt.repeated.RepeatedRows` in the place of one."""
BehaviorPolicy = Literal["logged", "reference", "frequency", "uniform", "embedding"]
"""Where q comes from, see `causalopt.behavior.behavior_log_prob`."""
