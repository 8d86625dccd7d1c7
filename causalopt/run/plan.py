"""Everything that can fail before the first file is written: reading data, building parts, finding models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import BACKEND, Backend, CandidateBackend, DescribedBackend
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.constraint import Constraint, check_constraints
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import DRAWN, Population
from causalopt.data.reader_groups import check_names
from causalopt.data.seen_rows import refuse_seen_rows
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.doors import check_contract
from causalopt.errors import ConfigError
from causalopt.evaluation.evaluate import leave_out
from causalopt.objectives.contract import OBJECTIVE, Objective
from causalopt.optimization.second_stage import check_second_stage
from causalopt.plugins import Registry
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.run.config import RunConfig
from causalopt.run.memory import warn_of_size
from causalopt.run.preconditions import refuse_one_text, warn_of_few, warn_of_twins
from causalopt.run.rows_config import WORLD_ROWS
from causalopt.run.settings import Part
from causalopt.run.tables import limited, read_dataset
from causalopt.signatures import shown
from causalopt.simulation.confounded_outcomes import confound
from causalopt.simulation.contracts import SimulatedWorld, TwoSampleWorld, World


@dataclass(frozen=True)
class Arm:
    """One way to fit a policy: the estimator of pseudo-outcomes and the objective."""

    nuisances: PseudoOutcomeEstimator
    objective: Objective
    own_nuisances: bool


@dataclass(frozen=True)
class OutcomeRows:
    """Rows of the second data set for the outcome models of the training rows and of the test rows.

    They share no group; otherwise a policy would be evaluated by the outcome model that it was tuned on.
    """

    train: DirectOutcomeDataset | None = None
    test: DirectOutcomeDataset | None = None


@dataclass(frozen=True)
class Plan:
    """A validated run, which `causalopt check` displays and `causalopt run` executes.

    ``apart`` are training rows that the policy is not trained on: they choose how far it goes.
    """

    config: RunConfig
    train: DirectOutcomeDataset
    apart: DirectOutcomeDataset | None
    test: DirectOutcomeDataset
    outcome_rows: OutcomeRows
    world: SimulatedWorld | None
    backend: Backend
    main: Arm
    comparisons: dict[str, Arm]

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Bounds on other outcomes."""
        return tuple(one.constraint() for one in self.config.constraints)

    def data_sets(self) -> dict[str, DirectOutcomeDataset]:
        """Return all data sets, by their purpose."""
        named = {
            "train": self.train,
            "choose": self.apart,
            "test": self.test,
            "outcome_train": self.outcome_rows.train,
            "outcome_test": self.outcome_rows.test,
        }
        return {name: data for name, data in named.items() if data is not None}


def prepare(config: RunConfig) -> Plan:
    """Read the data, build every part and find every model; nothing is written.

    Raises
    ------
    CausalOptError
        One line that names the error.
    """
    config = resolve(config)
    world = None if config.data.world is None else plugins.worlds.create(config.data.world)
    everything, test_table = read_rows(config, world)
    warn_of_size(everything)
    if world is None:
        refuse_one_text(everything)
        warn_of_twins(everything)
    texts = {*everything.texts, *(() if test_table is None else test_table.texts)}
    sets = None if world is not None else logged_sets([one for one in (everything, test_table) if one is not None])
    backend = build_backend(config, world.texts if isinstance(world, World) else sorted(texts), sets)
    if isinstance(backend, DescribedBackend):
        settings = {"name": config.backend["name"], **backend.settings()}
        config = config.model_copy(update={"backend": settings})
    config = _with_population(config, backend.population)
    train, test = _divide(config, everything, test_table)
    train, apart = _set_apart(config, train)
    arms = {name: _arm(config, overridden(config, name)) for name in ("", *config.comparisons)}
    check_groups(config, train)
    backend.check([arm.objective for arm in arms.values()], config.samples.per_row)
    check_benchmark(config, train)
    check_constraints([one.constraint() for one in config.constraints], everything)
    if config.constraints and apart is None:
        raise ConfigError(
            f"constraints need rows set apart that show which policies keep the bounds, and a share of "
            f"{config.choose.size if config.choose else 0:.0%} of the training rows holds fewer than {TOO_FEW:.0f} "
            f"{' or '.join(train.units())}: raise choose.size"
        )
    outcome_rows = read_outcome_rows(config, world)
    warn_of_few(test)
    return Plan(config, train, apart, test, outcome_rows, world, backend, arms.pop(""), arms)


def resolve(config: RunConfig) -> RunConfig:
    """Add the defaults of every part to its section, so that ``config.yaml`` fully determines the result."""
    filled: dict[str, Any] = {
        "embedder": with_defaults(plugins.embedders, config.embedder),
        "outcome_model": with_defaults(plugins.outcome_models, config.outcome_model),
        "assignment_model": with_defaults(plugins.assignment_models, config.assignment_model),
        "observation_model": with_defaults(plugins.observation_models, config.observation_model),
        "objective": with_defaults(plugins.objectives, config.objective),
        "backend": with_defaults(plugins.backends, config.backend),
        "executor": with_defaults(plugins.executors, config.executor),
    }
    if "sampling" in filled["backend"]:
        given = filled["backend"]["sampling"] or {}
        if not isinstance(given, Mapping):
            raise ConfigError(f"backend.sampling must be a mapping of settings, not {shown(given)}")
        filled["backend"]["sampling"] = {"max_new_tokens": config.samples.max_new_tokens, **given}
    if config.data.world is not None:
        world = with_defaults(plugins.worlds, config.data.world)
        filled["data"] = config.data.model_copy(update={"world": world})
    if config.outcome_data is not None and config.outcome_data.world is not None:
        world = with_defaults(plugins.worlds, config.outcome_data.world)
        filled["outcome_data"] = config.outcome_data.model_copy(update={"world": world})
    return config.model_copy(update=filled)


def with_defaults(registry: Registry, spec: Part) -> Part:
    """Complete a part's settings with the defaults of its factory."""
    defaults = {
        name: _plain(parameter.default)
        for name, parameter in inspect.signature(registry.get(spec["name"])).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {"name": spec["name"], **defaults, **{key: value for key, value in spec.items() if key != "name"}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _with_population(config: RunConfig, default: Population) -> RunConfig:
    """Fill in whether texts and prompts are drawn or fixed, from the backend, unless the configuration sets it."""
    chosen = config.data.population.over(default)
    filled = config.data.population.model_copy(update={"texts": chosen.texts, "prompts": chosen.prompts})
    return config.model_copy(update={"data": config.data.model_copy(update={"population": filled})})


def read_data(config: RunConfig, world: SimulatedWorld | None) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
    """Return the training and the test rows, which share no drawn unit unless the test rows have a separate table.

    The drawn units are determined by ``data.population`` (see `DirectOutcomeDataset.with_population`): if texts are
    fixed, the two share texts but no reader.
    """
    return _divide(config, *read_rows(config, world))


def read_rows(
    config: RunConfig, world: SimulatedWorld | None
) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset | None]:
    """Return all rows, and those of a test table if there is one."""
    settings = config.data
    if world is not None:
        return world.sample(settings.rows or WORLD_ROWS, config.seed), None
    assert settings.path is not None
    data = limited(read_dataset(settings.path, settings), settings.rows, config.seed)
    if settings.test.path is None:
        return data, None
    return data, read_dataset(settings.test.path, settings)


def _divide(
    config: RunConfig, data: DirectOutcomeDataset, apart: DirectOutcomeDataset | None
) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
    population = config.data.population.over(DRAWN)
    data = data.with_population(population)
    if apart is None:
        return data.split(test_size=config.data.test.size, seed=config.seed, by=config.data.test.by)
    refuse_seen_rows(apart, [data], "name another table in data.test.path, or none to split the rows")
    return data, apart.with_population(population)


def _set_apart(
    config: RunConfig, train: DirectOutcomeDataset
) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset | None]:
    """Set training rows apart to choose how far the policy goes; none if they would be too few to choose by."""
    if config.choose is None or train.unit_count() * config.choose.size < TOO_FEW:
        return train, None
    return train.split(test_size=config.choose.size, seed=config.seed)


def read_outcome_data(config: RunConfig, world: SimulatedWorld | None) -> DirectOutcomeDataset | None:
    """Return the second data set, if the configuration or the world has one."""
    settings = config.outcome_data
    if settings is None:
        if isinstance(world, TwoSampleWorld):
            return world.sample_outcome_data(config.data.outcome_rows or config.data.rows or WORLD_ROWS, config.seed)
        return None
    if settings.world is not None:
        other: SimulatedWorld = plugins.worlds.create(settings.world)
        return other.sample(settings.rows or WORLD_ROWS, config.seed + 1)  # rows other than those of data.world
    assert settings.path is not None
    data = DirectOutcomeDataset.from_path(settings.path, **settings.roles(config.data))
    added = settings.confounding
    if added is None:
        return data
    return confound(data, added.attributes, beta=added.beta, strength=added.strength, seed=config.seed)


def read_outcome_rows(config: RunConfig, world: SimulatedWorld | None) -> OutcomeRows:
    """Divide the second data set in the same way as the first."""
    data = read_outcome_data(config, world)
    if data is None:
        return OutcomeRows()
    data = data.with_population(config.data.population.over(DRAWN))
    return OutcomeRows(*data.split(test_size=config.data.test.size, seed=config.seed))


def check_benchmark(config: RunConfig, data: DirectOutcomeDataset) -> None:
    """Raise `ConfigError` if evaluation.benchmark contains a name that is not a covariate."""
    if config.evaluation.benchmark != "all":
        for name in config.evaluation.benchmark:
            if name not in data.covariates.columns:
                known = ", ".join(data.covariates.columns) or "none"
                raise ConfigError(f"evaluation.benchmark: {name!r} is not a covariate; there are: {known}")


def check_groups(config: RunConfig, data: DirectOutcomeDataset) -> None:
    """Raise `ConfigError` if evaluation.groups cannot be formed from the covariates."""
    if config.evaluation.groups:
        named = [] if config.evaluation.groups == "found" else config.evaluation.groups
        check_names(named, data.covariates.columns, "evaluation.groups")


def logged_sets(parts: Sequence[DirectOutcomeDataset]) -> ChoiceSets | None:
    """Collect the texts that were logged with each prompt, in all rows of the parts; None without prompts.

    Test rows add candidates and how often they were shown; their outcomes are not read.
    """
    if any(part.prompts is None for part in parts):
        return None
    prompts = [prompt for part in parts for prompt in part.prompts or ()]
    weight = np.concatenate([part.weight for part in parts])
    return ChoiceSets.logged(prompts, [text for part in parts for text in part.texts], weight)


def build_backend(config: RunConfig, texts: list[str], sets: ChoiceSets | None = None) -> Backend:
    """Build the backend; a backend that chooses among candidates receives the texts, and those of each prompt."""
    backend: Backend = plugins.backends.create(config.backend)
    check_contract("backend", backend, BACKEND, "a backend")
    if isinstance(backend, CandidateBackend) and (
        backend.candidates is None or isinstance(backend.candidates, ChoiceSets)
    ):
        return backend.with_candidates(texts, sets)
    return backend


def overridden(config: RunConfig, comparison: str) -> RunConfig:
    """Return the configuration of a comparison, or the run's own for ""."""
    if not comparison:
        return config
    chosen = {key: part for key, part in config.comparisons[comparison] if part is not None}
    return resolve(config.model_copy(update=chosen))


def _arm(config: RunConfig, overridden: RunConfig) -> Arm:
    parts = ("outcome_model", "assignment_model", "observation_model")
    objective: Objective = plugins.objectives.create(overridden.objective)
    check_contract("objective", objective, OBJECTIVE, "an objective (see objectives.contract.BaseObjective)")
    if objective.second_stage is not None:
        check_second_stage(objective.second_stage)  # checked now, created later
    return Arm(
        build_nuisances(overridden),
        objective,
        own_nuisances=any(getattr(config, part) != getattr(overridden, part) for part in parts),
    )


def build_nuisances(config: RunConfig) -> PseudoOutcomeEstimator:
    """Return the estimator of pseudo-outcomes of a configuration; its parts are checked now and created later."""
    for registry, part in (
        (plugins.embedders, config.embedder),
        (plugins.outcome_models, config.outcome_model),
        (plugins.assignment_models, config.assignment_model),
        (plugins.observation_models, config.observation_model),
        (plugins.executors, config.executor),
    ):
        registry.create(part)
    return PseudoOutcomeEstimator(
        embedder=config.embedder,
        outcome_model=config.outcome_model,
        assignment_model=config.assignment_model,
        observation_model=config.observation_model,
        folds=config.cross_fitting.folds,
        repeats=config.cross_fitting.repeats,
        max_weight=config.cross_fitting.max_weight,
        seed=config.seed,
        executor=config.executor,
    )


def fit_without(
    config: RunConfig, data: DirectOutcomeDataset, outcome_data: DirectOutcomeDataset | None
) -> dict[str, PseudoOutcomes]:
    """Refit the nuisances of the evaluation rows without each covariate in evaluation.benchmark."""
    chosen = config.evaluation.benchmark
    fitted = leave_out(build_nuisances(config), data, None if chosen == "all" else chosen, outcome_data)
    return {name: pilot_rows(pseudo, config.pilot.test_rows, config.seed) for name, pseudo in fitted.items()}


def pilot_rows(pseudo: PseudoOutcomes, rows: int | None, seed: int) -> PseudoOutcomes:
    """Draw the rows of a pilot; return all rows if there is none."""
    if rows is None or rows >= len(pseudo):
        return pseudo
    return pseudo.subset(np.sort(np.random.default_rng(seed).choice(len(pseudo), rows, replace=False)))
