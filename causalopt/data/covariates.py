"""Covariates as numbers: numeric ones are standardised, categorical ones have one indicator per level."""

from __future__ import annotations

import warnings
from typing import Self
from zlib import crc32

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from causalopt.errors import CausalOptWarning, DataError
from causalopt.typing import Array, Float64

MISSING = "(missing)"
MOST_LEVELS = 64
"""Number of levels of a covariate that always have an indicator each, and of indicators that the others may share."""
MOST_CELLS = 2**25
"""Largest table of indicators for one covariate, in numbers (256 MiB), before levels share some."""


class CovariateEncoder:
    """Encode a frame of covariates as float64 [n, p].

    A missing category is a level of its own, and every level has an indicator: the models fitted on them are
    penalised, so no level needs to be left out. Constant columns carry no information and are left out with a warning.
    Where a covariate has so many levels that their indicators would not fit into memory, the most frequent ones keep
    their own and the others share 64, by a hash of their names (Weinberger et al. 2009), with a warning.

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
        self._numeric: list[str] = []
        self._categorical: list[str] = []
        self._own: dict[str, set[str]] = {}
        constant: list[str] = []
        for column in frame.columns:
            numeric = pd.api.types.is_numeric_dtype(frame[column])
            values = _finite(frame[column], column) if numeric else levels_of(frame[column])
            if (values == values[0]).all() or (numeric and not values.std()):
                constant.append(column)
            else:
                (self._numeric if numeric else self._categorical).append(column)
                if not numeric and (found := own_indicators(str(column), values)) is not None:
                    self._own[column] = found[0]
                    warnings.warn(found[1], CausalOptWarning, stacklevel=2)
        if constant:
            warnings.warn(
                f"covariates that are constant were left out: {', '.join(constant)}", CausalOptWarning, stacklevel=2
            )
        # `transform` warns of levels that were not seen here, and names them.
        levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        parts = [("numeric", StandardScaler(), self._numeric), ("categorical", levels, self._categorical)]
        self._columns = ColumnTransformer(parts).fit(self._typed(frame))
        encoder = self._columns.named_transformers_["categorical"]
        self._known = dict(zip(self._categorical, encoder.categories_, strict=True)) if self._categorical else {}
        self.names = [*self._numeric, *(f"{column}={level}" for column, all_ in self._known.items() for level in all_)]
        return self

    def transform(self, frame: pd.DataFrame) -> Float64:
        """Encode with the fitted means, scales and levels, shape [n, p]; an unseen level is all zeros, with a warning.

        Raises
        ------
        DataError
            If a column is missing, holds words though it held numbers in `fit`, or holds a number that is not finite.
        """
        typed = self._typed(frame)
        if not len(typed):
            return np.zeros((0, len(self.names)))
        for column, levels in self._known.items():
            unseen = sorted(set(typed[column]) - set(levels))
            if unseen:
                count = int(typed[column].isin(unseen).sum())
                warnings.warn(
                    f"covariate {column!r} has {count} rows with levels not seen at fit time ({', '.join(unseen[:5])})",
                    CausalOptWarning,
                    stacklevel=2,
                )
        return np.asarray(self._columns.transform(typed), dtype=np.float64)

    def _typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that are encoded: finite numbers, and levels as strings."""
        for column in (*self._numeric, *self._categorical):
            if column not in frame.columns:
                raise DataError(f"covariate {column!r} was there at fit time and is missing now")
        numbers = {column: _finite(frame[column], column) for column in self._numeric}
        levels = {column: levels_of(frame[column]) for column in self._categorical}
        levels |= {column: _shared(levels[column], own) for column, own in self._own.items()}
        return pd.DataFrame({**numbers, **levels}, index=range(len(frame)))


def own_indicators(column: str, levels: Array) -> tuple[set[str], str] | None:
    """Levels [n] of a covariate that keep an indicator of their own where the others share some, and why, in words.

    None if all levels have an indicator.
    """
    counts = pd.Series(levels).value_counts()
    cells = len(levels) * len(counts)
    if len(counts) <= 2 * MOST_LEVELS or cells <= MOST_CELLS:
        return None
    order = sorted(counts.items(), key=lambda one: (-one[1], str(one[0])))
    return {str(level) for level, _ in order[:MOST_LEVELS]}, (
        f"covariate {column!r} has {len(counts)} levels in {len(levels)} rows: an indicator for each would take "
        f"{8 * cells / 2**30:.3g} GiB, so the {MOST_LEVELS} most frequent have one each and the others share "
        f"{MOST_LEVELS}, by a hash; where rare levels matter for what readers were shown, group them yourself"
    )


def _shared(levels: Array, own: set[str]) -> Array:
    """Replace all levels but some by the name of the indicator that they share, shape [n]."""
    codes, distinct = pd.factorize(levels)
    name = [level if level in own else f"other {crc32(level.encode()) % MOST_LEVELS}" for level in distinct]
    return np.array(name, dtype=object)[codes]


def levels_of(series: pd.Series) -> Array:
    """Levels of a categorical covariate as strings, shape [n]; a missing one is a level of its own."""
    if pd.api.types.is_float_dtype(series):  # numeric codes read as floats: written 1, not 1.0
        levels = [MISSING if pd.isna(value) else f"{value:.15g}" for value in series]
    else:
        levels = [MISSING if pd.isna(value) else str(value) for value in series]
    return np.array(levels, dtype=object)


def _finite(series: pd.Series, column: str) -> Float64:
    if not pd.api.types.is_numeric_dtype(series):
        raise DataError(f"covariate {column!r} held numbers at fit time and holds words now")
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(f"covariate {column!r} is {values[wrong[0]]} at position {wrong[0]}: must be finite")
    return values
