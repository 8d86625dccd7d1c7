"""Checks for user-defined parts, like scikit-learn's `check_estimator`: each raises `AssertionError` with the fault.

They run on small simulated data, in seconds; causalopt's own parts pass them.
"""

from __future__ import annotations

from causalopt.testing.backends import check_backend
from causalopt.testing.embedders import check_attribute_coder, check_embedder
from causalopt.testing.executors import check_executor
from causalopt.testing.judges import check_judge
from causalopt.testing.nuisances import check_assignment_model, check_observation_model, check_outcome_model
from causalopt.testing.objectives import check_objective
from causalopt.testing.worlds import check_open_world, check_world

__all__ = [
    "check_assignment_model",
    "check_attribute_coder",
    "check_backend",
    "check_embedder",
    "check_executor",
    "check_judge",
    "check_objective",
    "check_observation_model",
    "check_open_world",
    "check_outcome_model",
    "check_world",
]
