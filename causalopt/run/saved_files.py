"""Files of a run as they are read again: what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from causalopt.data import files
from causalopt.errors import DataError, one_line


def read_metrics(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a ``metrics.json``.

    Raises
    ------
    DataError
        If it cannot be read, is no JSON object, or lacks one of the keys.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: is missing, so this is not a finished run; `causalopt run` writes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged: {one_line(error)}; {AGAIN}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: is damaged: it must hold a JSON object; {AGAIN}")
    for key in keys:
        if key not in found:
            raise DataError(f"{path}: is damaged: it has no {key!r}; {AGAIN}")
    return found


def read_run_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return a Parquet table of a run.

    Raises
    ------
    DataError
        If it cannot be read, or lacks one of the columns.
    """
    frame = files.read_parquet(path)
    for column in columns:
        if column not in frame:
            raise DataError(f"{path}: is damaged: it has no column {column!r}; {AGAIN}")
    return frame


AGAIN = "run `causalopt run` again, or restore the file"
