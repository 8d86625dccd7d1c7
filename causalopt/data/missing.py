"""Rows with missing values: left out, refused, or, without an outcome, kept."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from causalopt.data import validation
from causalopt.data.columns import Columns
from causalopt.errors import DataError, DroppedRowsWarning
from causalopt.typing import Array

OnMissing = Literal["drop", "error", "model"]


def kept_rows(
    frame: pd.DataFrame, columns: Columns, on_missing: OnMissing, source: str
) -> tuple[pd.DataFrame, Array, dict[str, int]]:
    """Return the typed rows that are kept, whether each has an outcome, and how many rows were left out, by reason.

    See `causalopt.DirectOutcomeDataset.from_frame`.
    """
    table = validation.clean(frame.reset_index(drop=True), columns, source)
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
    validation.check_outcome_varies(table[columns.outcome], columns.outcome, source)
    return table, ~without[keep], dropped
