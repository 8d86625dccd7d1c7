"""Outcome models fitted forward in time: each row's prediction is from rows before it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from causalopt.errors import DataError
from causalopt.nuisance import models
from causalopt.nuisance.contracts import OutcomeModel
from causalopt.nuisance.guards import UNFIT, MeanOutcome, wild
from causalopt.nuisance.rows import Rows
from causalopt.typing import Float64, Int64

STARTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
"""Shares of the rows before each block but the first."""
FEWEST = 20
"""Smallest number of rows of the first block."""


@dataclass(frozen=True, eq=False)
class ForwardFit:
    """Predictions of n rows, each by a model of earlier blocks of rows.

    Attributes
    ----------
    block:
        Number of the block of each row in time, shape [n].
    m:
        Prediction, shape [n], outcome units; in block 0 the mean of earlier outcomes, and 0 in the first row (all rows
        of the first time), before which there are none.
    models:
        ``models[k - 1]`` was fitted on the rows of blocks before k.
    """

    block: Int64
    m: Float64
    models: tuple[OutcomeModel, ...]


def forward_blocks(time: Float64) -> Int64:
    """Divide rows into consecutive blocks by time, shape [n]; rows of one time share a block.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.forward_fitting import forward_blocks
    >>> np.bincount(forward_blocks(np.arange(400.0))).tolist()
    [20, 5, 25, 50, 50, 50, 50, 50, 50, 50]
    """
    n = len(time)
    ordered = np.sort(time)
    starts = sorted({max(FEWEST, int(np.ceil(share * n))) for share in STARTS if max(FEWEST, share * n) < n})
    # A block begins with the first row of its time, so that no row is predicted by others of the same time.
    cuts = np.unique([ordered[start] for start in starts]) if starts else np.zeros(0)
    return np.searchsorted(cuts[cuts > ordered[0]], time, side="right").astype(np.int64)


def fit_forward(rows: Rows, time: Float64, outcome_model: Any) -> ForwardFit:
    """Fit an outcome model before each block, on all rows of earlier blocks.

    Where the model cannot be fitted to the first rows, or predicts impossible outcomes, the mean of the earlier
    outcomes is used: any prediction from the past keeps a score's mean, and only its variance suffers.

    Parameters
    ----------
    rows:
        All rows.
    time:
        Shape [n].
    outcome_model:
        As in `causalopt.nuisance.cross_fitting.cross_fit`; a fitted model is fitted anew.

    Raises
    ------
    DataError
        If there are too few rows, or too few times, for a second block.
    """
    block = forward_blocks(time)
    if block.max() == 0:
        raise DataError(
            f"{len(rows)} rows of {len(np.unique(time))} times are too few to predict later rows from earlier ones: at "
            f"least {FEWEST + 1} rows of several times are needed"
        )
    m = np.where(block == 0, _mean_of_earlier(rows, time), 0.0)
    fitted: list[OutcomeModel] = []
    for k in range(1, int(block.max()) + 1):
        past, now = rows[block < k], block == k
        model: OutcomeModel = MeanOutcome().fit(past.x, past.w, past.y, past.weight)
        m[now] = models.predict(model, rows.x[now], rows.w[now], rows.text_id[now])
        try:
            candidate = models.fit_outcome(outcome_model, past)
            predicted = models.predict(candidate, rows.x[now], rows.w[now], rows.text_id[now])
            if wild(predicted, past.y) is None:
                model, m[now] = candidate, predicted
        except UNFIT:
            pass  # the mean, as documented
        fitted.append(model)
    return ForwardFit(block, m, tuple(fitted))


def _mean_of_earlier(rows: Rows, time: Float64) -> Float64:
    """Weighted mean outcome of the rows of earlier times, shape [n]; 0 if there are none."""
    at = np.unique(time, return_inverse=True)[1]
    total, weight = (np.bincount(at, weights=values) for values in (rows.weight * rows.y, rows.weight))
    before, exposure = (np.concatenate([[0.0], np.cumsum(values)[:-1]]) for values in (total, weight))
    return np.asarray(np.divide(before, exposure, out=np.zeros(len(before)), where=exposure > 0)[at])
