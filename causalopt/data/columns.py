"""The roles of columns: the single definition from which validation, data set and configuration derive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_type_hints

import numpy as np
import pandas as pd

from causalopt.errors import ConfigError, DataError
from causalopt.signatures import shown
from causalopt.suggestion import did_you_mean

Kind = Literal[
    "text", "number", "flag", "time", "log-probability", "positive", "label", "name",
    "numbers", "log-probabilities", "covariates", "outcomes",
]  # fmt: skip
"""Type of the cells of a role; covariates are of any type. A name is a label whose wording matters."""
SEVERAL = ("numbers", "log-probabilities", "covariates", "outcomes")
"""Kinds of roles that several columns may have."""
NAMED = ("numbers", "covariates", "outcomes")
"""Kinds of roles whose columns' names are part of the data."""


@dataclass(frozen=True)
class Role:
    """A role: the type of its cells, its meaning, and the Python type and default of the setting that fills it."""

    name: str
    kind: Kind
    meaning: str
    setting: Any
    default: Any


def _role(kind: Kind, meaning: str, default: Any = None) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class Columns:
    """Column names by role; a new role is a line here and an attribute of `DirectOutcomeDataset`."""

    text: str = _role("text", "the text that was read", "text")
    outcome: str = _role("number", "the response, in outcome units", "outcome")
    prompt: str | None = _role("text", "the context that the text answers")
    observed: str | None = _role("flag", "whether the outcome was observed (1) or the reader gave no response (0)")
    covariates: tuple[str, ...] = _role("covariates", "possible causes of both the text shown and the response", ())
    weight: str | None = _role("positive", "exposure of the row (impressions behind a rate)")
    group: str | None = _role("label", "rows that no split or fold divides")
    reader: str | None = _role("label", "who read it, for standard errors clustered by reader too")
    attributes: tuple[str, ...] = _role("numbers", "attributes that a person coded for each text", ())
    behavior_log_prob: str | None = _role("log-probability", "log q(x | c) under the logged policy, nats")
    logger: str | None = _role("name", "which of several policies wrote the text, or the round in which it was written")
    loggers: Mapping[str | int, str] | None = _role(
        "log-probabilities", "for each value of logger, the column of log q(x | c) under it, nats"
    )
    propensities: Mapping[str | int, str] | None = _role(
        "log-probabilities", "for each text, the column of its log-probability at the time of the row, nats"
    )
    assignment_log_prob: str | None = _role("log-probability", "log p(x | w), if texts were chosen by reader, nats")
    policy_log_prob: str | None = _role("log-probability", "of a policy computed elsewhere, for `estimate`, nats")
    policy_text: str | None = _role("text", "a text that this policy drew for the row")
    time: str | None = _role("time", "when the text was read: numbers or ISO dates")
    placebo_outcome: str | None = _role("number", "fixed before the text was read: no text can have affected it")
    other_outcomes: tuple[str, ...] = _role("outcomes", "further responses to the text, which `constraints` bound", ())

    def __post_init__(self) -> None:
        for role in ROLES:
            value = vars(self)[role.name]
            if role.kind in SEVERAL or (value is None and role.default is None):
                continue
            if not isinstance(value, str):
                raise ConfigError(f"{role.name} must be the name of a column, a string, not {shown(value)}")

    def filled(self) -> Iterator[tuple[Role, str]]:
        """Yield pairs of role and column, for the roles that are filled."""
        for role in ROLES:
            value = vars(self)[role.name]
            if isinstance(value, str):
                yield role, value
            elif isinstance(value, Mapping):
                yield from ((role, column) for column in value.values())
            elif value is not None:
                yield from ((role, column) for column in value)

    def check_together(self, adaptive: bool) -> None:
        """Raise `ConfigError` if roles that belong together are not all filled, or two take one another's place."""
        if self.loggers is not None and (self.logger is None or self.behavior_log_prob is not None):
            raise ConfigError(
                "data.loggers needs data.logger, the column with the name of each row's logger, and takes the place of "
                "data.behavior_log_prob"
            )
        if self.propensities is not None and (self.loggers is not None or self.behavior_log_prob is not None):
            raise ConfigError("data.propensities takes the place of data.behavior_log_prob and data.loggers")
        if adaptive and self.time is None:
            raise ConfigError("data.adaptive needs data.time, the order in which texts were chosen")

    def check(self, frame: pd.DataFrame, source: str) -> None:
        """Raise `DataError` if a column is missing, duplicated, or has two roles that exclude each other."""
        taken: dict[str, str] = {}
        for role, column in self.filled():
            if column not in frame.columns:
                hint = did_you_mean(column, frame.columns)
                names = ", ".join(str(name) for name in frame.columns)
                raise DataError(f"{source}: there is no column {column!r} for {role.name}{hint}; there are: {names}")
            if isinstance(frame[column], pd.DataFrame):
                raise DataError(f"{source}: there are several columns {column!r}; rename all but one")
            # Readers, groups and loggers only mark rows that belong together, so they may also have another role.
            if role.kind in ("label", "name"):
                continue
            if taken.get(column) == role.name:
                raise DataError(f"{source}: column {column!r} is named twice in {role.name}; name it once")
            if column in taken:
                raise DataError(
                    f"{source}: column {column!r} is both {taken[column]} and {role.name}; give it one role"
                )
            taken[column] = role.name


def check_several(**given: Any) -> None:
    """Raise `ConfigError` unless each role that several columns have is given as a list or a mapping of their names.

    Examples
    --------
    >>> from causalopt.data.columns import check_several
    >>> check_several(covariates=["age"], loggers=None)
    >>> check_several(covariates="age")
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: covariates must be a list of columns, not the string 'age'
    """
    for name, value in given.items():
        of_labels = name in ("loggers", "propensities")
        if value is None and of_labels:
            continue
        wanted = "a mapping from labels to columns" if of_labels else "a list of columns"
        if isinstance(value, str):
            raise ConfigError(f"{name} must be {wanted}, not the string {value!r}")
        if isinstance(value, np.ndarray) and value.ndim == 0:
            raise ConfigError(f"{name} must be {wanted}, not {shown(value)}")
        if not isinstance(value, Mapping if of_labels else Iterable) or (isinstance(value, Mapping) and not of_labels):
            raise ConfigError(f"{name} must be {wanted}, not {shown(value)}")
        for column in value.values() if isinstance(value, Mapping) else value:
            if not isinstance(column, str):
                raise ConfigError(f"{name} must be {wanted}, and {shown(column)} is not a name: columns are strings")


ROLES = tuple(
    Role(f.name, f.metadata["kind"], f.metadata["meaning"], get_type_hints(Columns)[f.name], f.default)
    for f in fields(Columns)
)
