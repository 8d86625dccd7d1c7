"""Rows with missing values: left out, refused, or, without an outcome, kept."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from causalopt.data import validation
from causalopt.data.columns import Columns
from causalopt.data.reading import Reading
from causalopt.errors import DataError, DroppedRowsWarning
from causalopt.typing import Array

OnMissing = Literal["drop", "error", "model"]
OnMissingCovariate = Literal["drop", "impute"]


def kept_rows(
    frame: pd.DataFrame,
    columns: Columns,
    on_missing: OnMissing,
    source: str,
    reading: Reading,
    on_missing_covariate: OnMissingCovariate,
) -> tuple[pd.DataFrame, Columns, Array, dict[str, int]]:
    """Return the typed rows that are kept, their roles, whether each has an outcome, and numbers of rows left out.

    See `causalopt.DirectOutcomeDataset.from_frame`.
    """
    frame = reading.cells(frame.reset_index(drop=True), columns, source)
    table = validation.clean(frame, columns, source, reading.decimal)
    if on_missing_covariate == "impute":
        table, columns = imputed(table, columns)
    without = validation.without_outcome(table, columns, keep_missing=on_missing == "model")
    reasons = validation.missing_reasons(table, columns, without)
    dropped = {reason: int(mask.sum()) for reason, mask in reasons.items()}
    keep = ~np.any(list(reasons.values()), axis=0) if reasons else np.ones(len(table), dtype=bool)
    if dropped and on_missing == "error":
        reason, mask = next(iter(reasons.items()))
        row = int(np.flatnonzero(mask)[0]) + 1
        raise DataError(
            f"{source}: row {row} has {reason} ({dropped[reason]} such rows); correct it, or set on_missing: drop"
        )
    counts = ", ".join(f"{count} with {reason}" for reason, count in dropped.items())
    if not keep.any():
        raise DataError(f"{source}: no row is left: {counts}")
    if dropped:
        warnings.warn(
            f"{source}: {int((~keep).sum())} of {len(keep)} rows left out: {counts}", DroppedRowsWarning, stacklevel=3
        )
    table = table[keep]
    reading.check(table, columns, source)
    for column in (columns.outcome, *columns.other_outcomes):
        validation.check_outcome_varies(table[column], column, source)
    return table, columns, ~without[keep], dropped


def imputed(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, Columns]:
    """Replace missing numbers of covariates by their mean, and add an indicator of where they were missing.

    The indicator takes up whatever distinguishes the readers who did not answer; a mean alone would hide it.
    """
    added = {}
    for column in columns.covariates:
        values = table[column]
        if pd.api.types.is_numeric_dtype(values) and values.isna().any() and values.notna().any():
            added[f"{column} is missing"] = values.isna().astype(np.float64)
            table = table.assign(**{column: values.fillna(values.mean())})
    return table.assign(**added), replace(columns, covariates=(*columns.covariates, *added))
