"""Division of rows by time: the last rows are test rows, and nothing drawn is on both sides."""

from __future__ import annotations

import numpy as np

from causalopt.errors import DataError
from causalopt.typing import Float64, Int64


def time_split(time: Float64, group: Int64, test_size: float, source: str) -> tuple[Int64, Int64, int]:
    """Positions of the training rows and of the test rows, and the number of rows in neither.

    The test rows are the last ``test_size`` of the rows; rows of the same time stay together, on the side of the test
    rows. A group (a text, where texts are drawn) whose rows are on both sides is taken out of the *training* rows: the
    value is estimated on the test rows, which must remain a fair sample of what comes later. Without the groups that
    recur, which are those with many rows, they would not be one.

    Parameters
    ----------
    time, group:
        Shape [n].
    test_size:
        Share of the rows that are test rows, between 0 and 1.
    source:
        Name of the table in messages.

    Raises
    ------
    DataError
        If all rows have one time, or fewer than two groups are left to train on.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.data.time_split import time_split
    >>> train, test, left_out = time_split(np.arange(6.0), np.array([0, 1, 2, 3, 1, 4]), 0.3, "t.csv")
    >>> train.tolist(), test.tolist(), left_out
    ([0, 2, 3], [4, 5], 1)
    """
    rows = max(1, round(test_size * len(time)))
    late = time >= np.sort(time)[len(time) - rows]
    if late.all():
        raise DataError(
            f"{source}: all rows from the first {test_size:g} of the time on are of one time, so that none is earlier: "
            "give the time more precisely, or split at random (data.test.by: group)"
        )
    again = ~late & np.isin(group, group[late])
    train = ~late & ~again
    if len(np.unique(group[train])) < 2 or len(np.unique(group[late])) < 2:
        raise DataError(
            f"{source}: of {len(np.unique(group))} units that a split keeps together (texts, prompts or readers, "
            f"whichever are drawn) {len(np.unique(group[late]))} have rows in the last {test_size:g} of the time and "
            f"{len(np.unique(group[train]))} have none there; two of each are needed: split at random (data.test.by: "
            "group), or, where these are all the texts that there are, say so in data.population"
        )
    return np.flatnonzero(train), np.flatnonzero(late), int(again.sum())
