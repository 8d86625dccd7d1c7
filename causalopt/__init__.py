"""Optimise language models on direct outcome data, as the causal problem it is.

>>> import causalopt as co
>>> co.__version__ == "0.1.0"
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from causalopt import evaluation, simulation
    from causalopt.backends.finite import FiniteBackend
    from causalopt.backends.huggingface import HuggingFaceBackend
    from causalopt.backends.optimized import OptimizedPolicy
    from causalopt.backends.saved import load_policy
    from causalopt.data.choice_sets import ChoiceSets
    from causalopt.data.constraint import Constraint
    from causalopt.data.dataset import DirectOutcomeDataset
    from causalopt.data.population import Population
    from causalopt.estimators.estimate import Estimate
    from causalopt.evaluation.evaluate import Evaluation, evaluate
    from causalopt.evaluation.found_groups import find_groups
    from causalopt.evaluation.judged import JudgedEvaluation, JudgeScores, evaluate_with_judge
    from causalopt.optimization.optimize import optimize
    from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

__all__ = [
    "ChoiceSets",
    "Constraint",
    "DirectOutcomeDataset",
    "Estimate",
    "Evaluation",
    "FiniteBackend",
    "HuggingFaceBackend",
    "JudgeScores",
    "JudgedEvaluation",
    "OptimizedPolicy",
    "Population",
    "PseudoOutcomeEstimator",
    "PseudoOutcomes",
    "evaluate",
    "evaluate_with_judge",
    "evaluation",
    "find_groups",
    "load_policy",
    "optimize",
    "simulation",
]

# Names are imported on first use: `import causalopt` and the command line's help should not wait for torch.
_HOMES = {
    "ChoiceSets": "causalopt.data.choice_sets",
    "Constraint": "causalopt.data.constraint",
    "DirectOutcomeDataset": "causalopt.data.dataset",
    "Estimate": "causalopt.estimators.estimate",
    "Evaluation": "causalopt.evaluation.evaluate",
    "FiniteBackend": "causalopt.backends.finite",
    "HuggingFaceBackend": "causalopt.backends.huggingface",
    "JudgeScores": "causalopt.evaluation.judged",
    "JudgedEvaluation": "causalopt.evaluation.judged",
    "OptimizedPolicy": "causalopt.backends.optimized",
    "Population": "causalopt.data.population",
    "PseudoOutcomeEstimator": "causalopt.pseudo_outcome",
    "PseudoOutcomes": "causalopt.pseudo_outcome",
    "evaluate": "causalopt.evaluation.evaluate",
    "evaluate_with_judge": "causalopt.evaluation.judged",
    "find_groups": "causalopt.evaluation.found_groups",
    "load_policy": "causalopt.backends.saved",
    "optimize": "causalopt.optimization.optimize",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("evaluation", "simulation"):
        return importlib.import_module(f"causalopt.{name}")
    raise AttributeError(f"module 'causalopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
