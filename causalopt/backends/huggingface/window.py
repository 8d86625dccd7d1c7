"""Number of rows in one step of the optimiser, and whether an objective can learn from so few."""

from __future__ import annotations

from transformers import TrainingArguments

from causalopt.errors import ConfigError, DataError
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
