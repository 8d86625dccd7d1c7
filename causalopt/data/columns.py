"""Which column of a table plays which role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from causalopt.errors import DataError
from causalopt.suggestion import did_you_mean


@dataclass(frozen=True)
class Columns:
    """Column names by role; see `causalopt.data.dataset.DirectOutcomeDataset` for what each role means."""

    text: str = "text"
    outcome: str = "outcome"
    prompt: str | None = None
    covariates: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None
    reader: str | None = None
    attributes: tuple[str, ...] = ()
    behavior_log_prob: str | None = None
    assignment_log_prob: str | None = None
    policy_log_prob: str | None = None
    policy_text: str | None = None
    placebo_outcome: str | None = None

    def roles(self) -> Iterator[tuple[str, str]]:
        """Pairs of role and column, for the roles that are filled."""
        for role, value in vars(self).items():
            if isinstance(value, str):
                yield role, value
            elif value is not None:
                yield from ((role, column) for column in value)

    def check(self, frame: pd.DataFrame, source: str) -> None:
        """Raise `DataError` when a column is missing, doubled, or has two roles that exclude each other."""
        taken: dict[str, str] = {}
        for role, column in self.roles():
            if column not in frame.columns:
                hint = did_you_mean(column, frame.columns)
                names = ", ".join(str(name) for name in frame.columns)
                raise DataError(f"{source}: there is no column {column!r} for {role}{hint}; there are: {names}")
            if isinstance(frame[column], pd.DataFrame):
                raise DataError(f"{source}: there are several columns {column!r}; rename all but one")
            # Readers and groups only say which rows belong together, so they may be covariates or attributes as well.
            if role in ("group", "reader"):
                continue
            if taken.get(column) == role:
                raise DataError(f"{source}: column {column!r} is named twice in {role}; name it once")
            if column in taken:
                raise DataError(f"{source}: column {column!r} is both {taken[column]} and {role}; give it one role")
            taken[column] = role
