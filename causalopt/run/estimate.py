"""`causalopt estimate`: the value of any policy from a table alone, by every estimator, with diagnostics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.reader_groups import ReaderGroups
from causalopt.errors import ConfigError, collected_warnings
from causalopt.estimators.names import ESTIMATORS
from causalopt.evaluation.evaluate import evaluate
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy, as_subject, population_of
from causalopt.run.config import RunConfig, load_config
from causalopt.run.metrics import evaluation_metrics, nuisance_metrics
from causalopt.run.named_policies import LOGGED, NamedPolicy, external_policy, named_policy
from causalopt.run.plan import (
    build_nuisances,
    check_benchmark,
    check_groups,
    fit_without,
    pilot_rows,
    read_outcome_data,
    resolve,
)
from causalopt.run.tables import read_dataset
from causalopt.simulation.contracts import SimulatedWorld
from causalopt.simulation.grading import truth_metrics


def estimate_value(config: RunConfig) -> dict[str, Any]:
    """Estimate the value of ``config.estimate.policy`` on all rows of the table; nothing is optimised or written.

    Returns
    -------
    dict
        Plain numbers, as in a run's ``metrics.json``: value, estimates, overlap, evidence, nuisance, data, warnings.

    Raises
    ------
    ConfigError
        If there is no policy, or it was trained on the same rows.

    Examples
    --------
    >>> from causalopt.run.config import parse_config
    >>> from causalopt.run.estimate import estimate_value
    >>> estimate_value(parse_config({"data": {"world": "template", "rows": 100}}))
    Traceback (most recent call last):
    causalopt.errors.ConfigError: there is no policy to evaluate: ...
    """
    config = _everything(resolve(config))
    if config.evaluation.groups == "found":
        raise ConfigError(
            "evaluation.groups: found needs training rows, in which groups are found, and an estimate from a table has "
            "none: name covariates, or use causalopt evaluate with a run"
        )
    asked = config.estimate
    policy = (
        external_policy(config.data.columns, asked.policy_draws) if asked.policy is None else named_policy(asked.policy)
    )
    if asked.policy is not None:
        _refuse_training_rows(Path(asked.policy), config)
    reference = _reference(config, policy)
    world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
    with collected_warnings() as messages:
        if world is not None:
            rows = world.sample(config.data.rows, config.seed)
        else:
            assert config.data.path is not None
            rows = read_dataset(config.data.path, config.data)
        check_benchmark(config, rows)
        check_groups(config, rows)
        metrics = evaluated(
            config,
            rows,
            policy,
            reference,
            outcome_data=read_outcome_data(config, world),
            world=world,
        )
    metrics["data"] = {
        "source": rows.source,
        "rows": len(rows),
        "groups": len(np.unique(rows.group)),
        "dropped": rows.dropped,
        "covariates": list(rows.covariates.columns),
    }
    metrics["warnings"] = messages()
    return metrics


def evaluated(
    config: RunConfig,
    rows: DirectOutcomeDataset,
    policy: NamedPolicy,
    reference: NamedPolicy | None,
    *,
    outcome_data: DirectOutcomeDataset | None = None,
    behavior_reference: Policy | None = None,
    draws: int | None = None,
    world: SimulatedWorld | None = None,
    found_groups: ReaderGroups | None = None,
) -> dict[str, Any]:
    """Fit the nuisances on ``rows`` alone and evaluate; if ``reference`` is None, compare with the texts as logged."""
    nuisances = build_nuisances(config)
    population = config.data.population.over(population_of(as_subject(policy.policy)))
    rows = rows.with_population(population)
    pseudo = pilot_rows(nuisances.fit_transform(rows, outcome_data=outcome_data), config.pilot.test_rows, config.seed)
    base = LoggedPolicy() if reference is None else reference.policy
    assert not isinstance(base, ExternalPolicy)
    evaluation = evaluate(
        policy.policy,
        pseudo,
        reference=base,
        estimators=config.evaluation.estimators,
        behavior_policy=config.behavior_policy,
        behavior_reference=behavior_reference,
        draws=draws or config.evaluation.draws,
        level=config.evaluation.level,
        seed=config.seed,
        without=fit_without(config, rows, outcome_data),
        population=population,
        groups=found_groups if config.evaluation.groups == "found" else config.evaluation.groups or None,
    )
    known = world is not None and not isinstance(policy.policy, ExternalPolicy) and not isinstance(base, LoggedPolicy)
    name = "the texts as logged" if reference is None else "the reference"
    return {
        "outcome": rows.columns.outcome,
        "direction": rows.direction,
        "policies": {"reference": LOGGED if reference is None else reference.name, "policy": policy.name},
        **evaluation_metrics(evaluation, rows, reference=name),
        "nuisance": {"test": nuisance_metrics(pseudo)},
        "truth": truth_metrics(world, policy.policy, base, evaluation.draws) if known else None,  # type: ignore[arg-type]
    }


def _everything(config: RunConfig) -> RunConfig:
    """Select all estimators and all benchmarks unless the configuration specifies them."""
    defaults: dict[str, Any] = {
        "estimators": [name for name in ESTIMATORS if name != "adaptive_dr"],
        "benchmark": "all",
    }
    open_ = {key: value for key, value in defaults.items() if key not in config.evaluation.model_fields_set}
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=open_)})


def _reference(config: RunConfig, policy: NamedPolicy) -> NamedPolicy | None:
    asked = config.estimate.reference
    if asked == LOGGED:
        return None
    if asked is not None:
        return named_policy(asked)
    return None if policy.reference is None else NamedPolicy(f"{policy.name} (reference)", policy.reference)


def _refuse_training_rows(folder: Path, config: RunConfig) -> None:
    """Raise if a run's policy would be evaluated on the table that it was tuned on."""
    if not (folder / "config.yaml").is_file() or not (folder / "manifest.json").is_file():
        return
    trained = load_config(folder / "config.yaml").data
    same_table = trained.path is not None and config.data.path is not None and _same(trained.path, config.data.path)
    same_world = trained.world is not None and json.dumps(trained.world) == json.dumps(config.data.world)
    if same_table or (same_world and load_config(folder / "config.yaml").seed == config.seed):
        raise ConfigError(
            f"{folder}: was tuned on rows of this data, on which its value would be overstated; "
            f"causalopt evaluate {folder} uses rows on which it was not tuned"
        )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
