"""Checks that a column is usable in its role; each error is one line with source, column and row."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from decimal import Decimal as BigDecimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import LARGEST
from causalopt.data.columns import SEVERAL, Columns
from causalopt.data.covariate_kinds import as_numbers, refuse_names, say_how
from causalopt.data.files import MISSING, number
from causalopt.data.numerals import Decimal, read_numerals
from causalopt.doors import is_broken
from causalopt.errors import DataError
from causalopt.typing import Array


def clean(frame: pd.DataFrame, columns: Columns, source: str, decimal: Decimal | None = None) -> pd.DataFrame:
    """Give each role's column its type: strings for texts and categories (or None), float64 for numbers (or nan).

    Raises
    ------
    DataError
        For errors that dropping rows cannot fix: a cell that is not a number or is infinite, a weight that is not
        positive, a log-probability above 0, an observed outcome that is neither 0 nor 1.
    """
    cleaned: dict[str, pd.Series] = {}
    if columns.observed is not None:
        observed = _flags(frame[columns.observed], columns.observed, source)
        # What a row without an outcome holds in its place, be it a code or a remark, is not looked at.
        outcome = frame[columns.outcome].astype(object).where(observed.to_numpy() != 0, None)
        frame = frame.assign(**{columns.outcome: outcome})
    for role, column in columns.filled():
        if role.kind == "text":
            cleaned[column] = _texts(frame[column], column, source)
        elif role.kind == "covariates":
            cleaned[column] = _covariate(frame[column], column, source, decimal)
        elif role.kind in ("label", "name"):
            if column not in cleaned:  # a covariate or an attribute may name the group as well
                cleaned[column] = _labels(frame[column], column, source)
        elif role.kind == "time":
            cleaned[column] = times(frame[column], column, source)
        elif role.kind == "log-probabilities" or role.name == "policy_log_prob":
            # Not every one of several policies writes every text, nor does one that did not write the logs.
            cleaned[column] = _numbers(frame[column], column, source, decimal, least=-math.inf)
        elif role.kind == "flag":
            cleaned[column] = _flags(frame[column], column, source)
        else:
            cleaned[column] = _numbers(frame[column], column, source, decimal)
        if role.kind == "positive":
            _refuse(cleaned[column], column, lambda value: value <= 0, f"a {role.name} must be positive", source)
            rule = f"a {role.name} must be below {LARGEST:g}, so that sums of squares can be computed"
            _refuse(cleaned[column], column, lambda value: value >= LARGEST, rule, source)
        if role.kind in ("log-probability", "log-probabilities"):
            _refuse(cleaned[column], column, lambda value: value > 0, "a log-probability cannot be above 0", source)
    return pd.DataFrame(cleaned)


def without_outcome(table: pd.DataFrame, columns: Columns, keep_missing: bool) -> Array:
    """Rows of a clean table that are kept without an outcome, shape [n].

    These are the rows marked as not observed, and with ``keep_missing`` all others that have no outcome either.
    """
    missing = table[columns.outcome].isna().to_numpy()
    if keep_missing:
        return missing
    if columns.observed is None:
        return np.zeros(len(table), dtype=bool)
    return missing & (table[columns.observed] == 0).to_numpy()


def missing_reasons(table: pd.DataFrame, columns: Columns, without: Array) -> dict[str, Array]:
    """Masks of the rows with a missing value, by reason; a row counts under its first reason, and no mask is empty.

    A missing outcome is no reason in the rows ``without`` [n] one.
    """
    masks = {}
    complete = np.ones(len(table), dtype=bool)
    for role, column in columns.filled():
        if role.kind == "outcomes" or (role.kind == "covariates" and not pd.api.types.is_numeric_dtype(table[column])):
            continue  # a row without one of the other outcomes is one where that was not observed
        mask = table[column].isna().to_numpy() & complete
        if role.name == "outcome":
            mask &= ~without
        if mask.any():
            what = f"{role.name.removesuffix('s')} {column!r}" if role.kind in SEVERAL else role.name
            masks[f"no {what}"] = mask
            complete &= ~mask
    return masks


def check_outcome_varies(outcome: pd.Series, column: str, source: str) -> None:
    """Raise `DataError` if the outcome is constant, or its fourth power is beyond double precision."""
    outcome = outcome.dropna()
    if outcome.empty:
        raise DataError(f"{source}: no row has an outcome in column {column!r}; there is nothing to learn")
    if outcome.nunique() < 2:
        raise DataError(
            f"{source}: all outcomes in column {column!r} are {outcome.iloc[0]:g}; there is nothing to learn"
        )
    largest = float(outcome.abs().max())
    if not 1 / LARGEST < largest < LARGEST:
        raise DataError(
            f"{source}: outcomes in column {column!r} reach {largest:.3g} in size, and their squares are beyond double "
            "precision: give them in other units, or correct a code for missing values"
        )


def _texts(series: pd.Series, column: str, source: str) -> pd.Series:
    texts = _or_none(series)
    _refuse(texts, column, lambda value: not isinstance(value, str), "must be text", source)
    _refuse(
        texts, column, is_broken, "holds half of a character (a lone surrogate); correct it or leave it out", source
    )
    return _map(texts, lambda value: value if value.strip() else None)


def _labels(series: pd.Series, column: str, source: str) -> pd.Series:
    labels = _or_none(series)
    _refuse(labels, column, lambda value: not isinstance(value, Hashable), "must be a number or a name", source)
    return _map(labels, lambda value: None if isinstance(value, str) and not value.strip() else value)


def _covariate(series: pd.Series, column: str, source: str, decimal: Decimal | None) -> pd.Series:
    """Numbers, booleans, dates and percentages as float64, anything else as the strings of its levels."""
    if pd.api.types.is_timedelta64_dtype(series):
        raise DataError(f"{source}: column {column!r} holds times: turn them into a number or into a few categories")
    if pd.api.types.is_numeric_dtype(series):
        return _numbers(series, column, source)
    levels = _or_none(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _labels(_map(levels, str), column, source)
    if all(isinstance(level, Real | np.bool_) for level in levels if level is not None):
        return _numbers(series, column, source)
    values = as_numbers(list(levels), column, source, decimal)
    if values is not None:
        return pd.Series(values, index=series.index)
    labels = _labels(_map(levels, str), column, source)
    refuse_names(labels, column, source)
    return labels


def _numbers(
    series: pd.Series, column: str, source: str, decimal: Decimal | None = None, *, least: float | None = None
) -> pd.Series:
    """Numbers as float64; they must be finite, but for ``least``."""
    if pd.api.types.is_numeric_dtype(series) and series.dtype.kind != "c":
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        cells = _or_none(series)
        written = read_numerals(list(cells), decimal)
        if written is None:
            _refuse(cells, column, _is_no_number, "must be a number", source)
            raise DataError(f"{source}: column {column!r} mixes ways of writing numbers")
        values = written.numbers
        if written.how is not None:
            say_how(list(cells), written, column, source)
    numbers = pd.Series(values, index=series.index)
    if np.isinf(values).any():
        _refuse(numbers, column, lambda value: math.isinf(value) and value != least, "must be finite", source)
    return numbers


def times(series: pd.Series, column: str, source: str) -> pd.Series:
    """Numbers as they are, ISO dates as seconds since 1970 (UTC, unless they say otherwise)."""
    cells = _or_none(series)
    if not pd.api.types.is_datetime64_any_dtype(series) and not any(_is_no_number(cell) for cell in cells):
        return _numbers(series, column, source)
    cells = _map(cells, lambda cell: None if isinstance(cell, str) and cell.strip().lower() in MISSING else cell)
    dates = pd.to_datetime(_map(cells, str), format="ISO8601", utc=True, errors="coerce")
    wrong = dates.isna() & cells.notna()
    if wrong.any():
        rule = "must be a number, or a date as in 2026-03-01 or 2026-03-01T09:30"
        first = cells[wrong].iloc[0]
        _refuse(cells.where(wrong, None), column, lambda cell: cell is first or cell == first, rule, source)
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return pd.Series(seconds.to_numpy(dtype=np.float64), index=series.index)


def _flags(series: pd.Series, column: str, source: str) -> pd.Series:
    """0 or 1 (or false or true) as float64; nan if it is missing."""
    cells = _or_none(series)
    rule = "whether an outcome was observed is 0 or 1 (or false or true)"
    _refuse(
        cells,
        column,
        lambda cell: _is_no_number(cell) or not (number(cell) in (0, 1) or math.isnan(number(cell))),
        rule,
        source,
    )
    return _numbers(series, column, source)


def _is_no_number(cell: Any) -> bool:
    try:
        number(math.nan if cell is None else cell)
    except ValueError:
        return True
    return False


def _or_none(series: pd.Series) -> pd.Series:
    if isinstance(series.dtype, pd.StringDtype):  # one string for each distinct one, not for each row
        codes, levels = pd.factorize(series)
        strings = np.array([*levels, None], dtype=object)  # the code of a missing cell is -1
        return pd.Series(strings[codes], index=series.index, dtype=object)
    cells = series.astype(object)
    # One by one: pandas compares a cell with itself, which a signalling nan of decimal does not bear.
    signals = np.array([isinstance(cell, BigDecimal) and cell.is_snan() for cell in cells], dtype=bool)
    cells = cells.where(~signals, None) if signals.any() else cells
    return cells.where(cells.notna(), None)


def _map(cells: pd.Series, function: Callable[[Any], Any]) -> pd.Series:
    # Series.map would guess a type, and turn None into nan.
    return pd.Series([None if cell is None else function(cell) for cell in cells], index=cells.index, dtype=object)


def _refuse(cells: pd.Series, column: str, wrong: Callable[[Any], bool], rule: str, source: str) -> None:
    """Raise `DataError` with the first invalid cell; missing cells are valid."""
    rows = [row for row, cell in enumerate(cells, start=1) if cell is not None and wrong(cell)]
    if rows:
        value = cells.iloc[rows[0] - 1]
        value = value.item() if isinstance(value, np.generic) else value
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."
        others = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        raise DataError(f"{source}: column {column!r}, row {rows[0]} is {shown}: {rule}{others}")
