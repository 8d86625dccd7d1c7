"""The memory that a run will need, so that one that does not fit is known before it has worked for an hour."""

from __future__ import annotations

import warnings

import pandas as pd
import psutil

from causalopt.data.covariates import CovariateEncoder, levels_of, own_indicators
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptWarning

CONSTANT = 1.2 * 2**30
"""Bytes that do not depend on the table: libraries, and blocks of rows with their features and sums."""
OF_ROW = 1000.0
"""Bytes of a row beside its covariates and its text: outcomes, nuisances, influence values, codes."""
OF_COVARIATE = 40.0
"""Bytes of an encoded covariate of a row: for all rows and for those of the other folds, with what is left out once."""
OF_TEXT = 2500.0
"""Bytes of a distinct text beside its letters: its embedding and what is computed from it."""
LETTERS = 10.0
"""Bytes of a letter of a distinct text: the text, and its terms."""


def estimated_memory(*tables: DirectOutcomeDataset) -> float:
    """Bytes that the nuisances and the value of tables take at their largest, without any language model.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.run.memory import estimated_memory
    >>> frame = pd.DataFrame({"text": ["a", "b"] * 500, "outcome": range(1000), "age": range(1000)})
    >>> data = DirectOutcomeDataset.from_frame(frame, covariates=["age"])
    >>> round(estimated_memory(data) / 2**30, 1)
    1.2
    """
    total = CONSTANT
    for data in tables:
        texts = set(data.texts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CausalOptWarning)
            columns = len(CovariateEncoder().fit(data.covariates).names) if data.covariates.shape[1] else 0
        total += len(data) * (OF_ROW + OF_COVARIATE * columns)
        total += len(texts) * OF_TEXT + LETTERS * sum(len(text) for text in texts)
    return total


def warn_of_size(data: DirectOutcomeDataset) -> None:
    """Name the covariates with too many levels for an indicator each, and compare the estimate with what is free.

    Warns
    -----
    CausalOptWarning
        With the memory that the indicators would take; and with the estimate, if it is more than is free.
    """
    for name, column in data.covariates.items():
        if not pd.api.types.is_numeric_dtype(column):
            found = own_indicators(str(name), levels_of(column))
            if found is not None:
                warnings.warn(f"{data.source}: {found[1]}", CausalOptWarning, stacklevel=2)
    needed, free = estimated_memory(data), psutil.virtual_memory().available
    if needed > free:
        warnings.warn(
            f"{data.source}: {len(data)} rows will take about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free: use fewer rows, fewer levels of the covariates, or a larger machine",
            CausalOptWarning,
            stacklevel=2,
        )
