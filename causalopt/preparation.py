"""Everything that can go wrong before the first file is written: data read, parts built, models found."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import Backend
from causalopt.config import Part, RunConfig
from causalopt.dataset import DirectOutcomeDataset
from causalopt.objective import Objective
from causalopt.plugins import Registry
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.simulation.contracts import TwoSampleWorld, World


@dataclass(frozen=True)
class Arm:
    """One way to make a policy: how pseudo-outcomes are estimated, and what is maximised."""

    nuisances: PseudoOutcomeEstimator
    objective: Objective
    own_nuisances: bool


@dataclass(frozen=True)
class Plan:
    """A validated run: what `causalopt check` looks at and `causalopt run` carries out."""

    config: RunConfig
    train: DirectOutcomeDataset
    test: DirectOutcomeDataset
    world: World | None
    backend: Backend
    main: Arm
    comparisons: dict[str, Arm]
    outcome_data: DirectOutcomeDataset | None = None
    """Rows to fit the outcome model on in place of the training rows; the test rows' nuisances never see them."""

    def data_sets(self) -> dict[str, DirectOutcomeDataset]:
        """Return all rows, by what they are for."""
        own = {"train": self.train, "test": self.test}
        return own if self.outcome_data is None else {**own, "outcome": self.outcome_data}


def prepare(config: RunConfig) -> Plan:
    """Read the data, build every part and look for every model; nothing is written.

    Raises
    ------
    CausalOptError
        One line that names what is wrong.
    """
    config = resolve(config)
    world = None if config.data.world is None else plugins.worlds.create(config.data.world)
    train, test = read_data(config, world)
    backend = build_backend(config, sorted({*train.texts, *test.texts}) if world is None else world.texts)
    arms = {name: _arm(config, _overridden(config, name)) for name in ("", *config.comparisons)}
    return Plan(config, train, test, world, backend, arms.pop(""), arms, read_outcome_data(config, world))


def resolve(config: RunConfig) -> RunConfig:
    """Write the defaults of every part into its section, so that ``config.yaml`` holds all that decided the result."""
    filled: dict[str, Any] = {
        "embedder": with_defaults(plugins.embedders, config.embedder),
        "outcome_model": with_defaults(plugins.outcome_models, config.outcome_model),
        "assignment_model": with_defaults(plugins.assignment_models, config.assignment_model),
        "objective": with_defaults(plugins.objectives, config.objective),
        "backend": with_defaults(plugins.backends, config.backend),
    }
    if "sampling" in filled["backend"]:
        given = filled["backend"]["sampling"] or {}
        filled["backend"]["sampling"] = {"max_new_tokens": config.samples.max_new_tokens, **given}
    if config.data.world is not None:
        world = with_defaults(plugins.worlds, config.data.world)
        filled["data"] = config.data.model_copy(update={"world": world})
    return config.model_copy(update=filled)


def with_defaults(registry: Registry, spec: Part) -> Part:
    """Complete a part's settings from the defaults of its factory."""
    defaults = {
        name: _plain(parameter.default)
        for name, parameter in inspect.signature(registry.get(spec["name"])).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {"name": spec["name"], **defaults, **{key: value for key, value in spec.items() if key != "name"}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def read_data(config: RunConfig, world: World | None) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
    """Return the training and the test rows, which share no group unless the test rows have a table of their own."""
    settings = config.data
    if world is not None:
        return world.sample(settings.rows, config.seed).split(test_size=settings.test.size, seed=config.seed)
    assert settings.path is not None
    data = DirectOutcomeDataset.from_path(settings.path, **settings.roles())
    if settings.test.path is None:
        return data.split(test_size=settings.test.size, seed=config.seed)
    return data, DirectOutcomeDataset.from_path(settings.test.path, **settings.roles())


def read_outcome_data(config: RunConfig, world: World | None) -> DirectOutcomeDataset | None:
    """Return the second data set, if the configuration or the world has one."""
    settings = config.data
    if isinstance(world, TwoSampleWorld):
        return world.sample_outcome_data(settings.outcome_rows or settings.rows, config.seed)
    if settings.outcome_path is None:
        return None
    return DirectOutcomeDataset.from_path(settings.outcome_path, **settings.roles())


def build_backend(config: RunConfig, texts: list[str]) -> Backend:
    """Build the backend and let it look for its model; one that chooses among candidates is given the texts."""
    backend: Any = plugins.backends.create(config.backend)
    if getattr(backend, "candidates", texts) is None:
        backend = backend.with_candidates(texts)
    backend.check()
    chosen: Backend = backend
    return chosen


def _overridden(config: RunConfig, comparison: str) -> RunConfig:
    if not comparison:
        return config
    chosen = {key: part for key, part in config.comparisons[comparison] if part is not None}
    return resolve(config.model_copy(update=chosen))


def _arm(config: RunConfig, overridden: RunConfig) -> Arm:
    parts = ("outcome_model", "assignment_model")
    return Arm(
        build_nuisances(overridden),
        plugins.objectives.create(overridden.objective),
        own_nuisances=any(getattr(config, part) != getattr(overridden, part) for part in parts),
    )


def build_nuisances(config: RunConfig) -> PseudoOutcomeEstimator:
    """Return the estimator of pseudo-outcomes that a configuration describes; its parts are tried now, made later."""
    for registry, part in (
        (plugins.embedders, config.embedder),
        (plugins.outcome_models, config.outcome_model),
        (plugins.assignment_models, config.assignment_model),
    ):
        registry.create(part)
    return PseudoOutcomeEstimator(
        embedder=config.embedder,
        outcome_model=config.outcome_model,
        assignment_model=config.assignment_model,
        folds=config.cross_fitting.folds,
        repeats=config.cross_fitting.repeats,
        max_weight=config.cross_fitting.max_weight,
        seed=config.seed,
    )


def pilot_rows(pseudo: PseudoOutcomes, rows: int | None, seed: int) -> PseudoOutcomes:
    """Draw the rows of a pilot; all of them without one."""
    if rows is None or rows >= len(pseudo):
        return pseudo
    return pseudo.subset(np.sort(np.random.default_rng(seed).choice(len(pseudo), rows, replace=False)))
