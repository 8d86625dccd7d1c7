"""Construction of nuisance models from the names, mappings or objects that a user passes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.nuisance.contracts import AssignmentModel, AveragesTexts, ObservationModel, OutcomeModel, SamplesReaders
from causalopt.nuisance.observation.sklearn import SklearnObservation
from causalopt.nuisance.outcome.averaging import mean_over_texts
from causalopt.nuisance.outcome.sklearn import SklearnOutcome
from causalopt.nuisance.rows import Rows
from causalopt.nuisance.text_index import TextIndex
from causalopt.plugins import Registry
from causalopt.typing import Array, Float64, Int64


def outcome_model(spec: Any) -> OutcomeModel:
    """Return a fresh outcome model: from a name, a mapping, or an object, which is copied.

    An estimator of scikit-learn or EconML is wrapped in its adapter.
    """
    made = plugins.outcome_models.create(spec)
    if not hasattr(made, "marginal") and type(made).__module__.startswith("econml."):
        from causalopt.nuisance.outcome.econml import EconMLOutcome

        made = EconMLOutcome(made)
    elif not hasattr(made, "marginal") and hasattr(made, "get_params"):
        made = SklearnOutcome(made)
    model = copy.deepcopy(made)
    if not isinstance(model, OutcomeModel):
        raise ConfigError(f"{name_of(spec)} is not an outcome model: it needs fit, predict and marginal")
    return model


def assignment_model(spec: Any) -> AssignmentModel:
    """Return a fresh assignment model: from a name, a mapping, or an object, which is copied."""
    model = copy.deepcopy(plugins.assignment_models.create(spec))
    if not isinstance(model, AssignmentModel):
        raise ConfigError(f"{name_of(spec)} is not an assignment model: it needs fit and stabilized_weight")
    return model


def observation_model(spec: Any) -> ObservationModel:
    """Return a fresh observation model: from a name, a mapping, or an object, which is copied.

    A classifier of scikit-learn is wrapped in its adapter.
    """
    made = plugins.observation_models.create(spec)
    if not hasattr(made, "probability") and hasattr(made, "predict_proba"):
        made = SklearnObservation(made)
    model = copy.deepcopy(made)
    if not isinstance(model, ObservationModel):
        raise ConfigError(f"{name_of(spec)} is not an observation model: it needs fit and probability")
    return model


def best_of(candidates: Sequence[Any]) -> list[Any]:
    """Return the candidates themselves: cross-fitting takes the one with the smallest held-out loss.

    This is how a configuration requests a choice:
    ``{name: best-of, candidates: [ridge, {name: lightgbm, leaves: 31}]}``.
    """
    return list(candidates)


def candidates_of(registry: Registry, spec: Any) -> list[Any]:
    """Return the candidates that ``spec`` stands for: itself, unless it is a list or `best_of`."""
    made = registry.create(spec) if isinstance(spec, Mapping) else spec
    candidates = list(made) if isinstance(made, list | tuple) else [spec]
    if not candidates:
        raise ConfigError(f"there is no candidate to choose the {registry.kind} from")
    return candidates


@runtime_checkable
class ReadsTexts(Protocol):
    """An outcome model that reads the texts themselves, by their numbers in ``texts``."""

    texts: TextIndex


def with_texts(spec: Any, index: TextIndex) -> Any:
    """Create the outcome models among the candidates that read texts, and give them the texts of ``index``."""
    candidates = []
    for candidate in candidates_of(plugins.outcome_models, spec):
        made = copy.deepcopy(plugins.outcome_models.create(candidate))
        if isinstance(made, ReadsTexts):
            made.texts = index
        candidates.append(made if isinstance(made, ReadsTexts) else candidate)
    return candidates if len(candidates) > 1 else candidates[0]


def name_of(spec: Any) -> str:
    """Return the name of a model in tables."""
    if isinstance(spec, str):
        return spec
    if isinstance(spec, Mapping):
        return str(spec.get("name"))
    return type(spec).__name__


@runtime_checkable
class Chooses(Protocol):
    """A model that chooses among others when it is fitted, and keeps the name of the one it chose in ``chosen_``."""

    chosen_: str


def fitted_name(spec: Any, model: Any) -> str:
    """Return the name of a fitted model in tables, with its choice if it made one."""
    return f"{name_of(spec)} ({model.chosen_})" if isinstance(model, Chooses) else name_of(spec)


@runtime_checkable
class TakesFloat32(Protocol):
    """A model that takes embeddings in float32, and converts no more than a block of them to float64 at a time.

    Any other model gets float64, so that nothing is computed in float32.
    """

    takes_float32: bool


def _embeddings(model: Any, x: Array) -> Array:
    return x if isinstance(model, TakesFloat32) else np.asarray(x, dtype=np.float64)


def fit_outcome(spec: Any, rows: Rows) -> OutcomeModel:
    """Fit a fresh outcome model; if its ``fit`` has a parameter ``text_id``, the ids of the rows' texts are passed."""
    model = outcome_model(spec)
    x = _embeddings(model, rows.x)
    return model.fit(x, rows.w, rows.y, rows.weight, **_ids(model.fit, rows.text_id))


def fit_assignment(
    spec: Any, x: Array, w: Array, weight: Float64, text_id: Int64, prompt_id: Int64 | None = None
) -> AssignmentModel:
    """Fit a fresh assignment model; ``text_id`` as in `fit_outcome`, and ``prompt_id`` likewise."""
    model = assignment_model(spec)
    return model.fit(_embeddings(model, x), w, weight, **_ids(model.fit, text_id, prompt_id))


def fit_observation(
    spec: Any, x: Array, w: Array, observed: Array, weight: Float64, text_id: Int64
) -> ObservationModel:
    """Fit a fresh observation model; ``text_id`` as in `fit_outcome`."""
    model = observation_model(spec)
    return model.fit(_embeddings(model, x), w, observed, weight, **_ids(model.fit, text_id))


def predict(model: OutcomeModel, x: Array, w: Array, text_id: Int64) -> Float64:
    """m(x_i, w_i), shape [n]."""
    return np.asarray(model.predict(_embeddings(model, x), w, **_ids(model.predict, text_id)), dtype=np.float64)


def reader_response(model: OutcomeModel, x_draws: Array, w: Array, text_id: Int64, seed: int) -> Float64:
    """Mean over texts of m(x_j, w_i), shape [n]: exact if the model supports it, else over a sample of the texts."""
    x_draws = _embeddings(model, x_draws)
    if isinstance(model, AveragesTexts):
        exact = model.reader_response
        return np.asarray(exact(x_draws, w, **_ids(exact, text_id)), dtype=np.float64)
    return mean_over_texts(partial(predict, model), x_draws, w, text_id, seed=seed)


def marginal(
    model: OutcomeModel, x: Array, w_reference: Array, weight_reference: Float64, text_id: Int64
) -> tuple[Float64, Float64]:
    """Mean over readers of m(x_i, w_k), shape [n], and its Monte Carlo standard error, zero if it is exact."""
    x = _embeddings(model, x)
    if isinstance(model, SamplesReaders):
        sampled = model.marginal_with_error
        mean, error = sampled(x, w_reference, weight_reference, **_ids(sampled, text_id))
        return mean, error
    mean = model.marginal(x, w_reference, weight_reference, **_ids(model.marginal, text_id))
    return np.asarray(mean, dtype=np.float64), np.zeros(len(x))


def stabilized_weight(model: AssignmentModel, x: Array, w: Array) -> Float64:
    """s(x_i, w_i), shape [n]."""
    return np.asarray(model.stabilized_weight(_embeddings(model, x), w), dtype=np.float64)


def probability(model: ObservationModel, x: Array, w: Array) -> Float64:
    """p(observed | x_i, w_i), shape [n]."""
    return np.asarray(model.probability(_embeddings(model, x), w), dtype=np.float64)


def _ids(method: Callable[..., Any], text_id: Int64, prompt_id: Int64 | None = None) -> dict[str, Int64 | None]:
    """Pass ids to a method that has parameters of their names, as scikit-learn does with ``sample_weight``."""
    asked = inspect.signature(method).parameters
    return {name: ids for name, ids in (("text_id", text_id), ("prompt_id", prompt_id)) if name in asked}
