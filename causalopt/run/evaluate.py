"""`causalopt evaluate` and `causalopt compare`: evaluation of policies on rows that took no part in their training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.reader_groups import ReaderGroups
from causalopt.data.seen_rows import refuse_seen_rows
from causalopt.durable import check_artefact
from causalopt.errors import CausalOptWarning, ConfigError, DataError, one_line
from causalopt.run.config import RunConfig, load_config
from causalopt.run.estimate import evaluated
from causalopt.run.named_policies import NamedPolicy, external_policy, named_policy
from causalopt.run.plan import read_data, read_outcome_rows
from causalopt.run.replacement import COMPARISONS, read_manifest, run_of
from causalopt.run.saved_files import AGAIN, check_saved, read_metrics
from causalopt.run.tables import read_dataset
from causalopt.simulation.contracts import SimulatedWorld


def evaluate_run(
    run_directory: Path,
    *,
    policy: str | None = None,
    data: Path | None = None,
    draws: int | None = None,
    policy_log_prob: str | None = None,
    policy_text: str | None = None,
    policy_draws: Path | None = None,
) -> dict[str, Any]:
    """Evaluate by the run's configuration, with the policy, the rows or the draws replaced.

    Without replacements the result equals the run's own ``metrics.json``.

    Parameters
    ----------
    run_directory:
        A directory written by `causalopt run`, or the folder of one of its comparisons.
    policy:
        Another policy: a comparison of the run, or what `estimate` takes: a run, a folder, a hub id, a table.
    data:
        Another table with the same columns, instead of the run's test rows.
    draws:
        Number of texts drawn from each policy.
    policy_log_prob, policy_text, policy_draws:
        Columns of the table, and a file of texts, of a policy that is not available as a model.

    Raises
    ------
    ConfigError
        If this is not a run, or ``policy`` is given together with columns of another policy.
    DataError
        If ``data`` holds rows that the policy of this run, or of a run given as ``policy``, was trained on or selected
        with.
    """
    check_saved(run_directory)
    own, run_directory = run_directory, run_of(run_directory)
    config = config_of(run_directory)
    columns = {"policy_log_prob": policy_log_prob, "policy_text": policy_text}
    named = {role: column for role, column in columns.items() if column is not None}
    if policy is not None and (named or policy_draws is not None):
        raise ConfigError("--policy and the options for another policy (--policy-log-prob, ...) exclude each other")
    config = config.model_copy(update={"data": config.data.model_copy(update=named)})
    rows, outcome_data, world = _rows(config, data)
    if data is not None:
        refuse_rows_seen_by(rows, [run_directory, *([] if policy is None else [run_of(Path(policy))])])
    if policy is None and not named and policy_draws is None:
        chosen = NamedPolicy(str(own), named_policy(str(own)).policy)
    elif policy is None:
        chosen = external_policy(config.data.columns, policy_draws)
    else:
        compared = run_directory / COMPARISONS / policy
        chosen = named_policy(str(compared) if policy in config.comparisons else policy, config.data.columns)
    reference = NamedPolicy(f"{run_directory} (reference)", load_policy(run_directory / "reference"))
    groups = _found_groups(config, run_directory)
    return evaluated(
        config, rows, chosen, reference, outcome_data=outcome_data, draws=draws, world=world, found_groups=groups
    )


def compare_runs(run_a: Path, run_b: Path, *, data: Path | None = None, draws: int | None = None) -> dict[str, Any]:
    """Estimate the difference of two runs' policies, B minus A, on the same rows with the same nuisances.

    Either may be the folder of a comparison, ``RUN/comparisons/NAME``. The first run's configuration is used, with its
    test rows, so both runs must have been trained on the same rows; otherwise ``data`` must be a table that neither has
    seen.

    Returns
    -------
    dict
        As in `evaluate_run`, with A as the reference and B as the policy.

    Raises
    ------
    ConfigError
        If one is not a run, or the second may have been tuned on the first one's test rows.
    DataError
        If ``data`` holds rows that one of the policies was trained on or selected with.
    """
    for one in (run_a, run_b):
        check_saved(one)
    home_a, home_b = run_of(run_a), run_of(run_b)
    config = config_of(home_a)
    config_of(home_b)
    if data is None and _fingerprint(home_a) != _fingerprint(home_b):
        raise ConfigError(
            f"{run_a} and {run_b} were trained on different rows, so one may have been tuned on the test rows of the "
            "other: name a table that neither has seen with --data"
        )
    rows, outcome_data, world = _rows(config, data)
    if data is not None:
        refuse_rows_seen_by(rows, [home_a, home_b])
    a, b = named_policy(str(run_a)), named_policy(str(run_b))
    return evaluated(
        config,
        rows,
        b,
        a,
        outcome_data=outcome_data,
        behavior_reference=a.reference,
        draws=draws,
        world=world,
        found_groups=_found_groups(config, home_a),
    )


def _found_groups(config: RunConfig, run_directory: Path) -> ReaderGroups | None:
    """Return the groups that a run found in its training rows; None if it did not look for any."""
    if config.evaluation.groups != "found":
        return None
    metrics = run_directory / "metrics.json"
    recorded = read_metrics(metrics).get("groups") if metrics.is_file() else None
    if recorded is None:
        raise ConfigError(f"{run_directory}: has no metrics.json with the groups that were found; finish the run first")
    try:
        return ReaderGroups.from_dicts(recorded["definitions"], recorded["notes"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{metrics}: is damaged: its 'groups' cannot be read ({one_line(error)}); {AGAIN}") from None


def config_of(run_directory: Path) -> RunConfig:
    """Return the configuration of a run; `ConfigError` if this is not the directory of one."""
    if not (run_directory / "config.yaml").exists():
        raise ConfigError(f"{run_directory}: is not a run directory (it has no config.yaml)")
    check_artefact(run_directory / "config.yaml")
    return load_config(run_directory / "config.yaml")


def _rows(
    config: RunConfig, data: Path | None
) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset | None, SimulatedWorld | None]:
    """Return the evaluation rows, the rows of a second data set for their outcome model, and the world."""
    world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
    rows = read_data(config, world)[1] if data is None else read_dataset(data, config.data)
    return rows, read_outcome_rows(config, world).test, world


def refuse_rows_seen_by(rows: DirectOutcomeDataset, runs: list[Path], fix: str | None = None) -> None:
    """Raise `DataError` if a policy would be judged by rows that it was trained on or selected with in its run.

    Parameters
    ----------
    rows:
        The rows to judge by.
    runs:
        Runs of the policies; a folder that is no run is passed over.
    fix:
        What to do instead, for the message; by default to leave --data out.
    """
    for run in runs:
        if not (run / "config.yaml").is_file() or not (run / "manifest.json").is_file():
            continue  # a policy that is not from a run
        config = load_config(run / "config.yaml")
        if config.data.path is not None and not config.data.path.exists():
            warnings.warn(
                f"{config.data.path}: no longer exists, so it cannot be checked whether {run} was trained on rows of "
                f"{rows.source}",
                CausalOptWarning,
                stacklevel=3,
            )
            continue
        world = None if config.data.world is None else plugins.worlds.create(config.data.world)
        train, _ = read_data(config, world)  # including the rows by which the policy was selected
        refuse_seen_rows(rows, [train], fix or f"without --data, {run} is evaluated on rows that it has not seen")


def _fingerprint(run_directory: Path) -> Any:
    manifest = read_manifest(run_directory)
    if manifest is None or not manifest.get("finished"):
        raise ConfigError(f"{run_directory}: its manifest.json is not that of a finished run")
    return manifest.get("fingerprint")
