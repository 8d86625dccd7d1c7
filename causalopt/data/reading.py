"""How the cells of a table become the values of its roles, where they are not so already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from causalopt.data.codes import check_missing_values, refuse_codes, without_codes
from causalopt.data.columns import Columns
from causalopt.data.numerals import Decimal
from causalopt.data.outcome_words import as_numbers, check_map, has_words_of
from causalopt.data.shape import RATER, long_of, with_nested
from causalopt.doors import check_choice
from causalopt.errors import ConfigError
from causalopt.signatures import shown

WITH_CODES = ("number", "numbers", "covariates", "outcomes")
"""Kinds of roles whose cells may be codes for a missing answer."""


@dataclass(frozen=True)
class Reading:
    """How cells are read.

    Attributes
    ----------
    outcome_map:
        A number for each word of the outcome.
    missing_values:
        Numbers and words that stand for a missing answer. None refuses a usual code that stands apart from all other
        outcomes, as it may be a response or none.
    decimal:
        The decimal mark of numbers that are written with commas.
    wide:
        ``{"raters": [...]}``: columns of raters, whose cells are outcomes.
    """

    outcome_map: Mapping[str, float] | None = None
    missing_values: Sequence[Any] | None = None
    decimal: Decimal | None = None
    wide: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome_map", check_map(self.outcome_map))
        object.__setattr__(self, "missing_values", check_missing_values(self.missing_values))
        if self.decimal is not None:
            check_choice("decimal", self.decimal, [".", ","])
        raters = None if self.wide is None else self._raters()
        if raters is not None and not (
            isinstance(raters, list | tuple) and raters and all(isinstance(name, str) for name in raters)
        ):
            raise ConfigError(f"wide must be {{raters: [columns]}}, not {shown(self.wide)}")

    def _raters(self) -> Any:
        wide = self.wide
        return wide["raters"] if isinstance(wide, Mapping) and list(wide) == ["raters"] else ()

    def apply(self, frame: pd.DataFrame, columns: Columns, source: str) -> tuple[pd.DataFrame, Columns]:
        """Return a table whose rows are readings, and its roles: in a table of raters, they are the readers."""
        if self.wide is not None:
            frame = long_of(frame, self._raters(), columns.outcome, source)
            columns = columns if columns.reader is not None else replace(columns, reader=RATER)
        return with_nested(frame, [column for _, column in columns.filled()]), columns

    def cells(self, frame: pd.DataFrame, columns: Columns, source: str) -> pd.DataFrame:
        """Replace codes by None, and words of the outcome by their numbers."""
        codes = self.missing_values
        if codes:
            coded = [column for role, column in columns.filled() if role.kind in WITH_CODES]
            frame = frame.assign(**{column: without_codes(frame[column], codes) for column in coded})
        read = {columns.outcome: as_numbers(frame[columns.outcome], self.outcome_map, columns.outcome, source)}
        for column in columns.other_outcomes:
            # The words are those of the outcome, if they are words of the map at all.
            mapping = self.outcome_map if has_words_of(frame[column], self.outcome_map) else None
            read[column] = as_numbers(frame[column], mapping, column, source)
        return frame.assign(**read)

    def check(self, table: pd.DataFrame, columns: Columns, source: str) -> None:
        """Raise `DataError` if some outcomes look like a code and nothing is said of it."""
        if self.missing_values is None:
            for column in (columns.outcome, *columns.other_outcomes):
                refuse_codes(table[column], column, source)
