"""Files of a run as they are read again: what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from causalopt.data import files
from causalopt.durable import check_artefact
from causalopt.errors import DataError, one_line
from causalopt.output import impossible, shown_path
from causalopt.signatures import shown


def read_metrics(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of a ``metrics.json``.

    Raises
    ------
    DataError
        If it cannot be read, is no JSON object, or lacks one of the keys.
    """
    check_artefact(path)
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
    check_artefact(path)
    frame = files.read_parquet(path)
    for column in columns:
        if column not in frame:
            raise DataError(f"{path}: is damaged: it has no column {column!r}; {AGAIN}")
    return frame


AGAIN = "run `causalopt run` again, or restore the file"


def check_saved(run_directory: Path) -> None:
    """Look at the files of a run before it is continued, replaced or evaluated; no error if it is not a run.

    Raises
    ------
    DataError
        If its manifest, its configuration or its metrics are damaged.
    """
    manifest = run_directory / "manifest.json"
    reason = impossible(run_directory)
    if reason is not None:
        raise DataError(f"{shown_path(run_directory)}: {reason}; name the directory of a run")
    if not manifest.exists():
        return
    found = read_metrics(manifest, ("finished", "stages", "files"))
    for key, kind in (("finished", bool), ("stages", list), ("files", (dict, list))):
        if not isinstance(found[key], kind):
            raise DataError(f"{manifest}: is damaged: its {key!r} is {shown(found[key])}; {AGAIN}")
    config = run_directory / "config.yaml"
    try:
        if config.exists():
            config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{config}: is damaged: {one_line(error)}; {AGAIN}") from None
    if found["finished"]:
        read_metrics(run_directory / "metrics.json", ("value", "verdict", "warnings"))
