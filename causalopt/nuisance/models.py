"""From what a user names or passes to a model that keeps the contract."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.nuisance.adapters import SklearnOutcome
from causalopt.nuisance.averaging import mean_over_texts
from causalopt.nuisance.contracts import AssignmentModel, OutcomeModel
from causalopt.nuisance.text_table import TextTable
from causalopt.plugins import Registry
from causalopt.typing import Array, Float64


def outcome_model(spec: Any) -> OutcomeModel:
    """Return a fresh outcome model: from a name, a mapping, or an object, which is copied.

    An estimator of scikit-learn or EconML is put into its adapter.
    """
    made = plugins.outcome_models.create(spec)
    if not hasattr(made, "marginal") and type(made).__module__.startswith("econml."):
        from causalopt.nuisance.econml import EconMLOutcome

        made = EconMLOutcome(made)
    elif not hasattr(made, "marginal") and hasattr(made, "get_params"):
        made = SklearnOutcome(made)
    model = copy.deepcopy(made)
    if not isinstance(model, OutcomeModel):
        raise ConfigError(f"{name_of(spec)} is no outcome model: it needs fit, predict and marginal")
    return model


def assignment_model(spec: Any) -> AssignmentModel:
    """Return a fresh assignment model: from a name, a mapping, or an object, which is copied."""
    model = copy.deepcopy(plugins.assignment_models.create(spec))
    if not isinstance(model, AssignmentModel):
        raise ConfigError(f"{name_of(spec)} is no assignment model: it needs fit and stabilized_weight")
    return model


def best_of(candidates: Sequence[Any]) -> list[Any]:
    """Return the candidates themselves: cross-fitting takes the one with the smallest held-out loss.

    So a configuration asks for a choice: ``{name: best-of, candidates: [ridge, {name: lightgbm, leaves: 31}]}``.
    """
    return list(candidates)


def candidates_of(registry: Registry, spec: Any) -> list[Any]:
    """Return the candidates that ``spec`` stands for: itself, unless it is a list or `best_of`."""
    made = registry.create(spec) if isinstance(spec, Mapping) else spec
    candidates = list(made) if isinstance(made, list | tuple) else [spec]
    if not candidates:
        raise ConfigError(f"there is no candidate to choose the {registry.kind} from")
    return candidates


def with_texts(spec: Any) -> tuple[Any, list[TextTable]]:
    """Make the outcome models among the candidates that read texts, and return the tables that tell them.

    Returns
    -------
    spec, tables:
        ``spec`` with these models in place of their names, and the table of each.
    """
    candidates, tables = [], []
    for candidate in candidates_of(plugins.outcome_models, spec):
        made = plugins.outcome_models.create(candidate)
        table = getattr(made, "texts", None)
        if isinstance(table, TextTable):
            tables.append(table)
        candidates.append(made if isinstance(table, TextTable) else candidate)
    return candidates if len(candidates) > 1 else candidates[0], tables


def name_of(spec: Any) -> str:
    """Return what tables call a model."""
    if isinstance(spec, str):
        return spec
    if isinstance(spec, Mapping):
        return str(spec.get("name"))
    return type(spec).__name__


def reader_response(model: OutcomeModel, x_draws: Array, w: Array, seed: int) -> Float64:
    """Mean over texts of m(x_j, w_i), shape [n]: exact where the model can, else over a sample of the texts."""
    exact = getattr(model, "reader_response", None)
    if exact is not None:
        return np.asarray(exact(x_draws, w), dtype=np.float64)
    return mean_over_texts(model.predict, x_draws, w, seed=seed)


def marginal(model: OutcomeModel, x: Array, w_reference: Array, weight_reference: Float64) -> tuple[Float64, Float64]:
    """Mean over readers of m(x_i, w_k), shape [n], and its Monte Carlo standard error, zero where it is exact."""
    sampled = getattr(model, "marginal_with_error", None)
    if sampled is not None:
        mean, error = sampled(x, w_reference, weight_reference)
        return mean, error
    return model.marginal(x, w_reference, weight_reference), np.zeros(len(x))
