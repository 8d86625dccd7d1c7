"""From names in a configuration to the policies to evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from causalopt.backends import load_policy
from causalopt.backends.contracts import Policy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data import files
from causalopt.data.columns import Columns
from causalopt.data.messages import split_messages
from causalopt.errors import ConfigError, ModelError
from causalopt.evaluation.policies import Evaluable, ExternalPolicy, LoggedPolicy, ScoredPolicy
from causalopt.output import impossible, shown_path
from causalopt.run.replacement import run_of
from causalopt.run.saved_files import check_saved

LOGGED = "logged"
"""Name of the policy that wrote the logs."""


@dataclass(frozen=True)
class NamedPolicy:
    """A policy, its name in tables, and the reference of its run, if it has one."""

    name: str
    policy: Evaluable
    reference: Policy | None = None


def named_policy(source: str, columns: Columns | None = None, draws: Path | None = None) -> NamedPolicy:
    """Load a run's policy (with its reference), a PEFT adapter, a folder, a finite policy, a hub id, or a table.

    Parameters
    ----------
    source:
        The name; ``logged`` is the policy that wrote the logs. A table has the data's columns of texts and, if there
        are any, prompts. With a column ``probability`` it lists all that the policy writes (`ListedPolicy`); with
        ``log_prob``, log-probabilities of the logged texts, nats; with neither, texts drawn from it (`ScoredPolicy`).
    columns:
        The data's columns; None, and there are no tables.
    draws:
        A table of texts drawn from a policy that is given by its log-probabilities.

    Raises
    ------
    ConfigError
        If ``draws`` are given for a policy that does not need them.
    ModelError
        If there is no such policy.
    """
    reason = impossible(source)
    if reason is not None:
        raise ModelError(f"policy {shown_path(source)}: {reason}; name a run, a folder, a hub id or a table")
    check_saved(Path(source))
    if columns is not None and Path(source).is_file():
        return NamedPolicy(source, _from_table(Path(source), columns, draws))
    if draws is not None:
        raise ConfigError(f"{source}: its texts are known or can be drawn, so a table of draws ({draws}) has no use")
    if source == LOGGED:
        return NamedPolicy(LOGGED, LoggedPolicy())
    folder = Path(source)
    if (folder / "policy").is_dir():
        folder = folder / "policy"
    beside = run_of(folder) / "reference"
    reference = load_policy(beside) if beside.is_dir() and beside.resolve() != folder.resolve() else None
    return NamedPolicy(source, load_policy(folder if folder.is_dir() else source), reference)


def _from_table(path: Path, columns: Columns, draws: Path | None) -> Evaluable:
    text, name = columns.text, str(path)
    frame, prompt = split_messages(files.read_table(path), text, columns.prompt, name)
    known = [column for column in ("probability", "log_prob") if column in frame]
    if len(known) > 1:
        raise ConfigError(
            f"{path}: has the columns 'probability' and 'log_prob': keep the one that describes the policy"
        )
    text, name = columns.text, str(path)
    frame, prompt = split_messages(frame, text, columns.prompt, name)
    if known == ["log_prob"]:
        drawn = None if draws is None else ExternalPolicy.from_path(draws, text=text, prompt=prompt)
        return ScoredPolicy.from_frame(frame, drawn, text=text, prompt=prompt, source=name)
    if draws is not None:
        raise ConfigError(f"{path}: has no column 'log_prob', so {draws} has no use: name one of the two tables")
    if known == ["probability"]:
        return ListedPolicy.from_frame(frame, text=text, prompt=prompt, source=name)
    drawn = ExternalPolicy.from_frame(frame, text=text, prompt=prompt, source=name)
    return ScoredPolicy(drawn, source=name)


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
