"""Groups of readers, defined by conditions on their covariates alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from causalopt.data.covariates import levels_of
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean
from causalopt.typing import Array, Int64

FEWEST_ROWS = 20
"""A level with fewer rows than this is merged with the other small ones."""
FEWEST_UNITS = 10
"""The same for the units that were drawn: a standard error from fewer says little."""


@dataclass(frozen=True)
class Condition:
    """A condition on one covariate: a number in (``above``, ``up_to``], or a level that is one of ``levels``.

    Attributes
    ----------
    covariate:
        Its name.
    above, up_to:
        Bounds of a number; None for no bound.
    levels:
        Levels of a category; None for a number.
    others:
        Whether the levels are those that do *not* fulfil it.
    """

    covariate: str
    above: float | None = None
    up_to: float | None = None
    levels: tuple[str, ...] | None = None
    others: bool = False

    def holds(self, covariates: pd.DataFrame) -> Array:
        """Whether each row fulfils it, a mask of shape [n]."""
        column = covariates[self.covariate]
        if self.levels is not None:
            among = np.isin(levels_of(column).astype(str), self.levels)
            return ~among if self.others else among
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        low, high = (-np.inf if self.above is None else self.above), (np.inf if self.up_to is None else self.up_to)
        return np.asarray((values > low) & (values <= high))

    def __str__(self) -> str:
        name = self.covariate
        if self.levels is not None:
            if len(self.levels) == 1:
                return f"{name} is not {self.levels[0]}" if self.others else f"{name} = {self.levels[0]}"
            return f"{name} is {'none' if self.others else 'one'} of {', '.join(self.levels)}"
        if self.above is not None and self.up_to is not None:
            return f"{self.above:g} < {name} <= {self.up_to:g}"
        return f"{name} <= {self.up_to:g}" if self.up_to is not None else f"{name} > {self.above:g}"


@dataclass(frozen=True)
class ReaderGroup:
    """Readers who fulfil all conditions.

    Attributes
    ----------
    name:
        Name in tables.
    division:
        Name of the division that it belongs to, whose groups do not overlap: a covariate, or "found".
    conditions:
        All of which its readers fulfil.
    """

    name: str
    division: str
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, division: str, conditions: Iterable[Condition]) -> Self:
        """Return the group with the name that its conditions give it."""
        conditions = tuple(conditions)
        return cls(" and ".join(map(str, conditions)), division, conditions)

    def rows(self, covariates: pd.DataFrame) -> Int64:
        """Positions of its rows."""
        member = np.ones(len(covariates), dtype=bool)
        for condition in self.conditions:
            member &= condition.holds(covariates)
        return np.flatnonzero(member).astype(np.int64)


@dataclass(frozen=True)
class ReaderGroups:
    """Groups of readers; those of one division do not overlap, those of different divisions may.

    Attributes
    ----------
    groups:
        In the order of tables.
    notes:
        Sentences on levels that were merged and covariates that were not divided.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.data.reader_groups import ReaderGroups
    >>> frame = pd.DataFrame({"text": [str(i) for i in range(90)], "outcome": range(90), "age": range(90)})
    >>> frame["party"] = ["left", "right", "centre"] * 30
    >>> data = DirectOutcomeDataset.from_frame(frame, covariates=["age", "party"])
    >>> for group in ReaderGroups.by(data, ["age", "party"]).groups:
    ...     print(group.name, len(group.rows(data.covariates)))
    age <= 29.6667 30
    29.6667 < age <= 59.3333 30
    age > 59.3333 30
    party = centre 30
    party = left 30
    party = right 30
    """

    groups: tuple[ReaderGroup, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def by(cls, data: DirectOutcomeDataset, names: Sequence[str]) -> Self:
        """Divide the rows of ``data`` by each of some covariates; no outcome is read.

        The levels of a category are groups, as are the values of a number that takes two; any other number is cut at
        the terciles of these rows (at the median, if a third of them has too few rows or units). Levels with fewer than
        20 rows or 10 of the units that were drawn are merged into one group.

        Raises
        ------
        ConfigError
            If a name is not a covariate, or is named twice.
        """
        check_names(names, data.covariates.columns, data.source)
        units = data.cluster()
        ways = [] if units is None else list(units) if isinstance(units, tuple) else [units]
        groups: list[ReaderGroup] = []
        notes: list[str] = []
        for name in names:
            column = data.covariates[name]
            number = pd.api.types.is_numeric_dtype(column)
            found = _cut(name, column, ways) if number and column.nunique() > 2 else _levels(name, column, ways, notes)
            if len(found) > 1:
                groups += found
            else:
                notes.append(
                    f"{name} is not divided: too few rows or {' or '.join(data.units())} remain beside one group."
                )
        return cls(tuple(groups), tuple(notes))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the groups as plain values for JSON."""
        return [
            {
                "group": one.name,
                "division": one.division,
                "conditions": [
                    {**asdict(part), "levels": None if part.levels is None else list(part.levels)}
                    for part in one.conditions
                ],
            }
            for one in self.groups
        ]

    @classmethod
    def from_dicts(cls, groups: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Self:
        """Return what `to_dicts` described."""
        return cls(
            tuple(
                ReaderGroup(
                    one["group"],
                    one["division"],
                    tuple(
                        Condition(**{**part, "levels": None if part["levels"] is None else tuple(part["levels"])})
                        for part in one["conditions"]
                    ),
                )
                for one in groups
            ),
            tuple(notes),
        )


def check_names(names: Sequence[str], covariates: Iterable[str], source: str) -> None:
    """Raise `ConfigError` if the names of groups are not distinct names of covariates."""
    known = list(covariates)
    if isinstance(names, str):
        raise ConfigError(f"groups must be a list of covariates, not the string {names!r}")
    if not known:
        raise ConfigError(
            f"{source}: groups of readers need covariates, and none are named: add them to data.covariates"
        )
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{source}: {name!r} is not a covariate, so readers cannot be grouped by it"
                f"{did_you_mean(name, known)}; there are: {', '.join(known)}"
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"{source}: a covariate is named twice in groups: {', '.join(names)}")


def _enough(member: Array, ways: Sequence[Int64]) -> bool:
    return bool(member.sum() >= FEWEST_ROWS) and all(len(np.unique(way[member])) >= FEWEST_UNITS for way in ways)


def _cut(name: str, column: pd.Series, ways: Sequence[Int64]) -> list[ReaderGroup]:
    """Thirds, or else halves, of a number; nothing if these are too small."""
    values = column.to_numpy(dtype=np.float64)
    for parts in (3, 2):
        cuts = np.quantile(values, np.arange(1, parts) / parts)
        # Printed and used alike: the name of a group is its definition.
        cuts = np.unique([float(f"{cut:.6g}") for cut in cuts])
        bounds: list[float | None] = [None, *map(float, cuts), None]
        found = [ReaderGroup.of(name, [Condition(name, low, high)]) for low, high in itertools.pairwise(bounds)]
        frame = column.to_frame(name)
        if all(_enough(one.conditions[0].holds(frame), ways) for one in found):
            return found
    return []


def _levels(name: str, column: pd.Series, ways: Sequence[Int64], notes: list[str]) -> list[ReaderGroup]:
    """Levels of a category, the small ones merged."""
    labels = levels_of(column).astype(str)
    if pd.api.types.is_numeric_dtype(column):
        labels = np.array([f"{float(value):g}" for value in column])
        return _numbers(name, column, sorted(set(labels), key=float), labels, ways)
    known, counts = np.unique(labels, return_counts=True)
    by_size = [str(known[i]) for i in np.argsort(counts, kind="stable")]
    small = [level for level in by_size if not _enough(labels == level, ways)]
    # A remainder that is itself too small takes in the next smallest level.
    for level in by_size:
        if not small or _enough(np.isin(labels, small), ways):
            break
        if level not in small:
            small.append(level)
    kept = [str(level) for level in known if level not in small]
    found = [ReaderGroup.of(name, [Condition(name, levels=(level,))]) for level in kept]
    if small:
        merged = tuple(sorted(small))
        found.append(ReaderGroup(f"{name} = other", name, (Condition(name, levels=tuple(kept), others=True),)))
        if kept:
            notes.append(f"{name} = other stands for {', '.join(merged)}, which have few rows.")
    return found


def _numbers(
    name: str, column: pd.Series, known: Sequence[str], labels: Array, ways: Sequence[Int64]
) -> list[ReaderGroup]:
    """Return the two values of a number as groups, cut midway; nothing if one of them is too small."""
    if len(known) < 2 or not all(_enough(labels == value, ways) for value in known):
        return []
    low, high = sorted(set(column.to_numpy(dtype=np.float64)))
    middle = float(low + high) / 2
    return [
        ReaderGroup(f"{name} = {known[0]}", name, (Condition(name, up_to=middle),)),
        ReaderGroup(f"{name} = {known[1]}", name, (Condition(name, above=middle),)),
    ]
