"""Tables from files: CSV, TSV, JSON Lines, Parquet, or a folder saved by `datasets`.

A reader takes the path and the columns that are covariates. Only covariates are either numeric or categorical, which a
plain-text file does not state: there, a column is numeric if all its cells are numbers.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Collection
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from causalopt.errors import DataError, one_line
from causalopt.output import impossible, shown_path
from causalopt.signatures import shown

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "."})
"""Spellings of a missing number in text, in lower case, as R, pandas, Excel, SQL, Stata and SAS write it."""


def number(cell: Any) -> float:
    """Read a cell as a number: nan if it is missing, 0 or 1 for a boolean.

    Raises
    ------
    ValueError
        If it is not a number.

    Examples
    --------
    >>> from causalopt.data.files import number
    >>> number(" 2.5 "), number(True), number("NA")
    (2.5, 1.0, nan)
    """
    if isinstance(cell, str):
        word = cell.strip().lower()
        if word in MISSING:
            return math.nan
        if word in ("true", "false"):
            return float(word == "true")
        if "_" in word:  # Python reads 1_000 as a number; in a table it is not one
            raise ValueError(f"{cell!r} is not a number")
        return float(word)
    if isinstance(cell, Real | Decimal | np.bool_):
        try:
            return float(cell)
        except OverflowError:
            return math.inf
        except ArithmeticError:  # a signalling nan of decimal
            return math.nan
    raise ValueError(f"{cell!r} is not a number")


T = TypeVar("T")


def read_csv(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read a comma-separated table with a header; UTF-8. Empty cells and ``NA`` (which R writes) are missing."""
    return _read(path, lambda p: _parse_delimited(p, ",", covariates))


def read_tsv(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read a tab-separated table with a header, as `read_csv` does."""
    return _read(path, lambda p: _parse_delimited(p, "\t", covariates))


def read_jsonl(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read one JSON object per line; a key that a line lacks is a missing value."""
    return _read(path, _parse_jsonl)


def read_parquet(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read a Parquet table."""
    return _read(path, pd.read_parquet)


def read_saved_dataset(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read a folder that `datasets.Dataset.save_to_disk` wrote."""
    import datasets

    return from_datasets(_read(path, lambda p: datasets.load_from_disk(str(p))), str(path), covariates)


def from_datasets(dataset: Any, source: str, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Turn a `datasets.Dataset` into a frame; several splits raise `DataError`."""
    import datasets

    if isinstance(dataset, datasets.DatasetDict):
        names = ", ".join(map(repr, dataset))
        raise DataError(f"{source}: holds the splits {names}; take one, such as data[{next(iter(dataset), 'train')!r}]")
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"{source}: is a {type(dataset).__name__}, not a datasets.Dataset (load it without streaming)")
    frame: pd.DataFrame = dataset.to_pandas()
    for column, feature in dataset.features.items():
        if column in covariates and isinstance(feature, datasets.ClassLabel):
            # Class labels are codes, not quantities.
            known = frame[column].map(lambda code: isinstance(code, int | float) and code >= 0)
            frame[column] = [
                feature.int2str(int(code)) if known_ else None
                for code, known_ in zip(frame[column], known, strict=True)
            ]
    return frame


Reader = Callable[[Path, Collection[str]], pd.DataFrame]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}


def as_path(path: Any) -> Path:
    """Return the path of a table; `DataError` if no file can have that name."""
    if not isinstance(path, str | Path):
        raise DataError(f"a table is named by a path, not by {shown(path)}")
    _check_name(path)
    return Path(path)


def read_table(path: Path, covariates: Collection[str] = ()) -> pd.DataFrame:
    """Read a table by its suffix, or a folder saved by `datasets`.

    Raises
    ------
    DataError
        If there is no such file, its suffix is unknown, or it cannot be parsed.
    """
    _check_name(path)
    if path.is_dir():
        return read_saved_dataset(path, covariates)
    if path.suffix.lower() not in READERS and path.exists():
        raise DataError(
            f"{path}: no reader for {path.suffix or 'a file without suffix'}; there are: {', '.join(READERS)}"
        )
    return READERS.get(path.suffix.lower(), read_csv)(path, covariates)


def check_texts(frame: pd.DataFrame, columns: Collection[str], source: str) -> None:
    """Raise `DataError` if a column of texts is missing, or one of its cells holds no text."""
    for column in columns:
        if column not in frame:
            names = ", ".join(map(str, frame.columns))
            raise DataError(f"{source}: there is no column {column!r} of texts; there are: {names}")
        if isinstance(frame[column], pd.DataFrame):
            raise DataError(f"{source}: there are several columns {column!r}; rename all but one")
        empty = frame[column].map(lambda cell: not isinstance(cell, str) or not cell.strip())
        if empty.any():
            raise DataError(f"{source}: column {column!r}, row {int(empty.argmax()) + 1} holds no text")


def _check_name(path: str | Path) -> None:
    reason = impossible(path)
    if reason is not None:
        raise DataError(f"{shown_path(path)}: {reason}; name a table")


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except DataError:
        raise
    except FileNotFoundError as error:
        if path.exists():
            raise DataError(f"{path}: {one_line(error)}") from None
        raise DataError(f"{path}: there is no such file") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: is empty") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except RecursionError:
        raise DataError(f"{path}: cannot be parsed: a value is nested too deeply") from None
    except MemoryError:
        raise  # nothing is wrong with the file
    except Exception as error:  # a parser of damaged bytes has no list of its errors
        raise DataError(f"{path}: cannot be parsed: {one_line(error)}") from error


def _parse_delimited(path: Path, separator: str, covariates: Collection[str]) -> pd.DataFrame:
    # Keep every cell as it is written: a text may well be "None" or "2020", and a group "007".
    frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", dtype=str, na_filter=False)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError("rows have more cells than the header has names (put texts with a separator in quotes)")
    for column in frame.columns:
        cells = frame[column].where(~frame[column].isin(["", "NA"]), None)
        frame[column] = _numeric(cells) if column in covariates else cells
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(row for row in csv.reader(stream, delimiter=separator) if row)
    # pandas renames the second of two equal column names; a duplicated name must not go unnoticed.
    return frame.set_axis(header, axis=1) if len(set(header)) < len(header) == frame.shape[1] else frame


def _numeric(cells: pd.Series) -> pd.Series:
    """Return numbers if every cell is one (or missing), else the cells unchanged."""
    try:
        return cells.map(number, na_action="ignore").astype("float64")
    except ValueError:
        return cells


def _parse_jsonl(path: Path) -> pd.DataFrame:
    records = []
    with path.open(encoding="utf-8-sig") as lines:
        for row, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    records.append(json.loads(line, object_pairs_hook=_each_key_once))
                except RecursionError:
                    raise ValueError(f"line {row}: is nested too deeply") from None
                except ValueError as error:
                    raise ValueError(f"line {row}: {error}") from None
                if not isinstance(records[-1], dict):
                    raise ValueError(f"line {row}: is not a JSON object")
    return pd.DataFrame.from_records(records)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for i, key in enumerate(keys) if key in keys[:i])!r} is there twice")
    return found
