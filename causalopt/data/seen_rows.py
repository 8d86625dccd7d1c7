"""Rows that two tables share: a policy must not be evaluated on the rows it was trained on or selected with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import DataError

BY_CHANCE = 1e-3
"""Probability of agreement by chance below which two tables with equal rows count as one table reordered."""


def shared_rows(a: DirectOutcomeDataset, b: DirectOutcomeDataset) -> int:
    """Count the rows of ``a`` that are rows of ``b``, by text, prompt, outcome, weight and covariates.

    Codes of groups and readers are ignored, since each table numbers them separately. If there are few distinct values,
    new rows match rows of ``b`` by chance. Therefore a row counts as shared if ``b`` holds an equal row exactly once,
    which happens to a new row with a probability of at most about 1/e. It also counts by its position, if both sources
    have the same name and agree at every position that both hold. Two data sets that are equal row by row share all
    rows, and so do two that differ only in the order of their rows, if this is very unlikely by chance.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.data.seen_rows import shared_rows
    >>> frame = pd.DataFrame({"text": ["a", "b", "c", "c"], "outcome": [1.0, 2.0, 3.0, 3.0]})
    >>> one = DirectOutcomeDataset.from_frame(frame)
    >>> other = DirectOutcomeDataset.from_frame(frame.iloc[1:], source="a part of it")
    >>> shared_rows(one, one), shared_rows(other, one)
    (4, 1)
    """
    one, other = _contents(a), _contents(b)
    common = [name for name in one if name in other]
    found, known = (pd.util.hash_pandas_object(frame[common], index=False).to_numpy() for frame in (one, other))
    values, counts = np.unique(known, return_counts=True)
    if np.array_equal(found, known):
        return len(a)
    # Equal in another order: two Poisson counts of mean k agree with a probability of about 1 / sqrt(4 pi k).
    by_chance = np.prod(1 / np.sqrt(4 * np.pi * np.sort(counts)[:-1]))
    if by_chance < BY_CHANCE and np.array_equal(np.sort(found), np.sort(known)):
        return len(a)
    by_content = len(np.intersect1d(found, values[counts == 1]))
    if a.source != b.source:
        return by_content
    at = dict(zip(b.row.tolist(), known.tolist(), strict=True))
    same = [at[row] == value for row, value in zip(a.row.tolist(), found.tolist(), strict=True) if row in at]
    return max(by_content, len(same) if all(same) else 0)


def refuse_seen_rows(data: DirectOutcomeDataset, seen: Iterable[DirectOutcomeDataset], fix: str) -> None:
    """Raise `DataError` if more than half of the rows are among those that a policy was trained on or selected with."""
    shared = min(sum(shared_rows(data, one) for one in seen), len(data))
    if 2 * shared > len(data):
        raise DataError(
            f"{data.source}: {shared} of its {len(data)} rows trained or chose a policy, whose value on them "
            f"would be overstated; {fix}"
        )


def _contents(data: DirectOutcomeDataset) -> pd.DataFrame:
    """Return the columns that identify a row, with numbers as float64 and all else as strings."""
    frame = data.covariates.add_prefix("covariate:").assign(text=data.texts, outcome=data.outcome, weight=data.weight)
    if data.prompts is not None:
        frame["prompt"] = data.prompts
    columns = {
        str(name): column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
        if pd.api.types.is_numeric_dtype(column)
        else column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)
        for name, column in frame.items()
    }
    return pd.DataFrame(columns)
