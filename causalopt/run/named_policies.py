"""From names in a configuration to the policies to evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from causalopt.backends import load_policy
from causalopt.backends.contracts import Policy
from causalopt.data.columns import Columns
from causalopt.errors import ConfigError
from causalopt.evaluation.policies import ExternalPolicy

LOGGED = "logged"
"""Name of the policy that wrote the logs."""


@dataclass(frozen=True)
class NamedPolicy:
    """A policy, its name in tables, and the reference of its run, if it has one."""

    name: str
    policy: Policy | ExternalPolicy
    reference: Policy | None = None


def named_policy(source: str) -> NamedPolicy:
    """Load a run's policy (with its reference), a PEFT adapter, a folder, a finite policy, or a hub id.

    Raises
    ------
    ModelError
        If there is no such policy.
    """
    folder = Path(source)
    if not (folder / "policy").is_dir():
        return NamedPolicy(source, load_policy(source))
    beside = folder / "reference"
    return NamedPolicy(source, load_policy(folder / "policy"), load_policy(beside) if beside.is_dir() else None)


def external_policy(columns: Columns, draws: Path | None) -> NamedPolicy:
    """Return the policy given by columns of the table and, if there is one, by a file of its texts.

    Raises
    ------
    ConfigError
        If neither columns nor a file are given.
    """
    if columns.policy_log_prob is None and columns.policy_text is None and draws is None:
        raise ConfigError(
            "there is no policy to evaluate: give its name (estimate.policy, --policy), or the column of its "
            "log-probabilities (data.policy_log_prob, --policy-log-prob), or its texts (data.policy_text, "
            "--policy-draws)"
        )
    known = [f"column {column!r}" for column in (columns.policy_log_prob, columns.policy_text) if column is not None]
    name = " and ".join([*known, *([str(draws)] if draws is not None else [])])
    policy = (
        ExternalPolicy() if draws is None else ExternalPolicy.from_path(draws, text=columns.text, prompt=columns.prompt)
    )
    return NamedPolicy(name, policy)
