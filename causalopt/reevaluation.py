"""`causalopt evaluate`: a run's policy, or any other, on the run's test rows or on another table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.config import load_config
from causalopt.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError
from causalopt.evaluation.evaluate import evaluate
from causalopt.metrics import evaluation_metrics, nuisance_metrics, truth_metrics
from causalopt.preparation import build_nuisances, pilot_rows, read_data


def evaluate_run(
    run_directory: Path, *, policy: str | None = None, data: Path | None = None, draws: int | None = None
) -> dict[str, Any]:
    """Evaluate as the run's configuration says, with the policy, the rows or the draws replaced.

    Without replacements the result equals the run's own ``metrics.json``.
    """
    if not (run_directory / "config.yaml").exists():
        raise ConfigError(f"{run_directory}: is not a run directory (it has no config.yaml)")
    config = load_config(run_directory / "config.yaml")
    world = None if config.data.world is None else plugins.worlds.create(config.data.world)
    rows = read_data(config, world)[1] if data is None else DirectOutcomeDataset.from_path(data, **config.data.roles())
    reference = load_policy(run_directory / "reference")
    chosen = load_policy(run_directory / "policy" if policy is None else policy)
    test = pilot_rows(build_nuisances(config).fit_transform(rows), config.pilot.test_rows, config.seed)
    evaluation = evaluate(
        chosen,
        test,
        reference=reference,
        estimators=config.evaluation.estimators,
        behavior_policy=config.behavior_policy,
        draws=draws or config.evaluation.draws,
        level=config.evaluation.level,
        seed=config.seed,
    )
    return {
        "outcome": rows.columns.outcome,
        "direction": rows.direction,
        **evaluation_metrics(evaluation, rows),
        "nuisance": {"test": nuisance_metrics(test)},
        "truth": None if world is None else truth_metrics(world, chosen, reference),
    }
