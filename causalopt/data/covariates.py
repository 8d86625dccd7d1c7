"""Covariates as numbers: standardised where they are numeric, one indicator a level where they are categories."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
import pandas as pd

from causalopt.errors import CausalOptWarning, DataError
from causalopt.typing import Float64

MISSING = "(missing)"


class CovariateEncoder:
    """Encode a frame of covariates as float64 [n, p].

    A missing category is a level of its own, and every level has its indicator: models that are fitted on them are
    penalised, so that none need be left out. Constant columns carry nothing and are left out with a warning.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.covariates import CovariateEncoder
    >>> frame = pd.DataFrame({"age": [20.0, 40.0], "party": ["left", "right"]})
    >>> encoder = CovariateEncoder().fit(frame)
    >>> encoder.names
    ['age', 'party=left', 'party=right']
    >>> encoder.transform(frame).tolist()
    [[-1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn means, scales and levels."""
        self._scales: dict[str, tuple[float, float]] = {}
        self._levels: dict[str, list[str]] = {}
        constant = []
        for column in frame.columns:
            if pd.api.types.is_numeric_dtype(frame[column]):
                values = _finite(frame[column], column)
                if np.ptp(values) and values.std():
                    self._scales[column] = (float(values.mean()), float(values.std()))
                    continue
            elif len(levels := sorted(set(_levels(frame[column])))) > 1:
                self._levels[column] = levels
                continue
            constant.append(column)
        if constant:
            warnings.warn(
                f"covariates that are constant were left out: {', '.join(constant)}", CausalOptWarning, stacklevel=2
            )
        self.names = [*self._scales, *(f"{column}={level}" for column, all_ in self._levels.items() for level in all_)]
        return self

    def transform(self, frame: pd.DataFrame) -> Float64:
        """Encode with what was learnt, shape [n, p]; an unseen level is all zeros, with a warning.

        Raises
        ------
        DataError
            When a column is missing, holds words where it held numbers, or holds a number that is not finite.
        """
        for column in (*self._scales, *self._levels):
            if column not in frame.columns:
                raise DataError(f"covariate {column!r} was there at fit time and is missing now")
        parts = [
            ((_finite(frame[column], column) - mean) / scale)[:, None] for column, (mean, scale) in self._scales.items()
        ]
        for column, levels in self._levels.items():
            values = np.array(_levels(frame[column]), dtype=object)
            unseen = sorted(set(values) - set(levels))
            if unseen:
                count = int(np.isin(values, unseen).sum())
                warnings.warn(
                    f"covariate {column!r} has {count} rows with levels not seen at fit time ({', '.join(unseen[:5])})",
                    CausalOptWarning,
                    stacklevel=2,
                )
            parts.append((values[:, None] == np.array(levels, dtype=object)).astype(np.float64))
        return np.hstack(parts) if parts else np.zeros((len(frame), 0))


def _levels(series: pd.Series) -> list[str]:
    if pd.api.types.is_float_dtype(series):  # codes that a table with letters in it would have kept as 1, not 1.0
        return [MISSING if pd.isna(value) else f"{value:.15g}" for value in series]
    return [MISSING if pd.isna(value) else str(value) for value in series]


def _finite(series: pd.Series, column: str) -> Float64:
    if not pd.api.types.is_numeric_dtype(series):
        raise DataError(f"covariate {column!r} held numbers at fit time and holds words now")
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(f"covariate {column!r} is {values[wrong[0]]} at position {wrong[0]}: must be finite")
    return values
