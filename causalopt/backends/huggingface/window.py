"""Number of rows in one update, whether an objective can learn from so few, and how many updates a fit has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainingArguments

from causalopt.errors import ConfigError, DataError
from causalopt.language_models.settings import MOST_EPOCHS
from causalopt.objectives.contract import Objective
from causalopt.objectives.probes import fewest_rows


def check_window(objective: Objective, per_row: int, args: TrainingArguments) -> int:
    """Return the number of rows of a window, over all processes.

    Raises
    ------
    ConfigError
        If outcomes have no effect on the gradient of a window this small, see `causalopt.objectives.probes`.
    """
    rows = int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)
    if rows < fewest_rows(objective, per_row):
        raise ConfigError(
            f"{type(objective).__name__} compares the texts of a window, so that in a window of one no outcome has any "
            "effect: set backend.training.per_device_train_batch_size or gradient_accumulation_steps to 2 or more (16 "
            "rows in all are a good start)"
        )
    return rows


def with_enough_updates(training: Mapping[str, Any], rows: int, window: int, updates: int) -> dict[str, Any]:
    """Return the settings with as many epochs as ``updates`` need, if these are more; at most `MOST_EPOCHS`.

    Parameters
    ----------
    training:
        With ``num_train_epochs``.
    rows, window:
        Rows of an epoch, and of an update.
    updates:
        Fewest updates of the fit.

    Examples
    --------
    >>> from causalopt.backends.huggingface.window import with_enough_updates
    >>> tables = [with_enough_updates({"num_train_epochs": 2}, rows, 64, 100) for rows in (50, 640, 30_000)]
    >>> [training["num_train_epochs"] for training in tables]
    [20, 10, 2]
    """
    enough = min(math.ceil(updates / math.ceil(rows / window)), MOST_EPOCHS)
    return {**training, "num_train_epochs": max(training["num_train_epochs"], enough)}


def rows_to_repeat(rows: int, window: int, objective: Objective, per_row: int) -> int:
    """Return how many rows an epoch must see twice, 0 or 1, so that its last window is not a single row.

    Raises
    ------
    DataError
        If there is only one row in all.
    """
    if fewest_rows(objective, per_row) == 1:
        return 0
    if rows == 1:
        raise DataError(f"{type(objective).__name__} cannot learn from a single row")
    return int(rows % window == 1)
