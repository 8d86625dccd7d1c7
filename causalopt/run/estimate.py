"""`causalopt estimate`: the value of any policy from a table alone, by every estimator, with diagnostics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from causalopt import plugins
from causalopt.backends.contracts import Policy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.conversations import SENTENCE
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.reader_groups import ReaderGroups
from causalopt.errors import ConfigError, collected_warnings
from causalopt.estimators.names import ESTIMATORS
from causalopt.evaluation.evaluate import evaluate
from causalopt.evaluation.policies import NOT_CALLED, LoggedPolicy, as_subject, population_of
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
from causalopt.run.replacement import run_of
from causalopt.run.rows_config import WORLD_ROWS
from causalopt.run.tables import limited, read_dataset
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
    asked, columns = config.estimate, config.data.columns
    policy = (
        external_policy(columns, asked.policy_draws)
        if asked.policy is None
        else named_policy(asked.policy, columns, asked.policy_draws)
    )
    reference = _reference(config, policy)
    for source in (asked.policy, asked.reference):
        if source is not None:
            _refuse_training_rows(Path(source), config)
    world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
    with collected_warnings() as messages:
        if world is not None:
            rows = world.sample(config.data.rows or WORLD_ROWS, config.seed)
        else:
            assert config.data.path is not None
            rows = limited(read_dataset(config.data.path, config.data), config.data.rows, config.seed)
        check_benchmark(config, rows)
        check_groups(config, rows)
        metrics = evaluated(
            config,
            rows,
            policy,
            reference,
            outcome_data=read_outcome_data(config, world),
            behavior_reference=_wrote_the_logs(asked.reference, policy, reference),
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
    base = LoggedPolicy() if reference is None else reference.policy
    population = config.data.population.over(population_of(as_subject(policy.policy), as_subject(base)))
    rows = rows.with_population(population)
    pseudo = pilot_rows(nuisances.fit_transform(rows, outcome_data=outcome_data), config.pilot.test_rows, config.seed)
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
        constraints=[one.constraint() for one in config.constraints],
    )
    # The best gain at a policy's KL, which a truth includes, exists for models alone.
    known = world is not None and not any(isinstance(one, (*NOT_CALLED, ListedPolicy)) for one in (policy.policy, base))
    name = "the texts as logged" if isinstance(base, LoggedPolicy) else "the reference"
    return {
        "outcome": rows.columns.outcome,
        "direction": rows.direction,
        "conversations": None if config.data.conversation is None else SENTENCE,
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
    if asked is not None:
        return named_policy(asked, config.data.columns, config.estimate.reference_draws)
    if config.estimate.reference_draws is not None:
        table = str(config.estimate.reference_draws)
        return named_policy(table, config.data.columns)
    return None if policy.reference is None else NamedPolicy(f"{policy.name} (reference)", policy.reference)


def _wrote_the_logs(asked: str | None, policy: NamedPolicy, reference: NamedPolicy | None) -> Policy | None:
    """Return the model that q comes from, unless the reference is it: of two runs, the reference of one of them."""
    if asked is None or reference is None or isinstance(reference.policy, LoggedPolicy):
        return None
    return policy.reference if reference.reference is None else reference.reference


def _refuse_training_rows(source: Path, config: RunConfig) -> None:
    """Raise if a run's policy would be evaluated on the table that it was tuned on."""
    run = run_of(source)
    if not (run / "config.yaml").is_file() or not (run / "manifest.json").is_file():
        return
    trained = load_config(run / "config.yaml").data
    same_table = trained.path is not None and config.data.path is not None and _same(trained.path, config.data.path)
    same_world = trained.world is not None and json.dumps(trained.world) == json.dumps(config.data.world)
    if same_table or (same_world and load_config(run / "config.yaml").seed == config.seed):
        raise ConfigError(
            f"{source}: was tuned on rows of this data, on which its value would be overstated; "
            f"causalopt evaluate {source} uses rows on which it was not tuned"
        )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
