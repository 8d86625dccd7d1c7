"""Tables from files of many kinds, or a folder saved by `datasets`.

A reader takes the path, the columns that are covariates, and how delimited text is written. Only covariates are either
numeric or categorical, which a plain-text file does not state: there, a column is numeric if all its cells are numbers.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Collection
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from causalopt.data.delimited import Dialect, parse_delimited
from causalopt.errors import DataError, one_line
from causalopt.output import impossible, shown_path
from causalopt.signatures import shown

FOUND = Dialect()
"""A dialect that is found from the file."""
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


def read_csv(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a table of delimited text with a header. Empty cells and ``NA`` (which R writes) are missing.

    Separator and encoding are found from the file, and so are the further header rows of a survey's export, unless
    ``dialect`` names them.
    """
    return _read(path, lambda p: _delimited(p, ",", covariates, dialect))


def read_tsv(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a tab-separated table with a header, as `read_csv` does."""
    return _read(path, lambda p: _delimited(p, "\t", covariates, dialect))


def read_jsonl(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read one JSON object per line, also compressed by gzip; a key that a line lacks is a missing value."""
    return _read(path, _parse_jsonl)


def read_json(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a list of JSON objects, or one object per line."""
    return _read(path, _parse_json)


def read_parquet(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a Parquet table."""
    return _read(path, pd.read_parquet)


def read_arrow(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read an Arrow file (Feather, version 2)."""
    return _read(path, pd.read_feather)


def read_excel(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read the first sheet of a workbook; it needs openpyxl."""
    return _read(path, lambda p: _with_package("openpyxl", lambda: pd.read_excel(p, keep_default_na=False)))


def read_stata(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a Stata file; a cell with a value label holds its label."""
    return _read(path, pd.read_stata)


def read_spss(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read an SPSS file; it needs pyreadstat. A cell with a value label holds its label."""
    return _read(path, lambda p: _with_package("pyreadstat", lambda: pd.read_spss(p)))


def read_saved_dataset(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
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


Reader = Callable[[Path, Collection[str], Dialect], pd.DataFrame]
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".txt": read_csv,
    ".zip": read_csv,
    ".tsv": read_tsv,
    ".tsv.gz": read_tsv,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".xlsx": read_excel,
    ".dta": read_stata,
    ".sav": read_spss,
}


def as_path(path: Any) -> Path:
    """Return the path of a table; `DataError` if no file can have that name."""
    if not isinstance(path, str | Path):
        raise DataError(f"a table is named by a path, not by {shown(path)}")
    _check_name(path)
    return Path(path)


def read_table(path: Path, covariates: Collection[str] = (), dialect: Dialect = FOUND) -> pd.DataFrame:
    """Read a table by its suffix, or a folder saved by `datasets`.

    Raises
    ------
    DataError
        If there is no such file, its suffix is unknown, or it cannot be parsed.
    """
    _check_name(path)
    if path.is_dir():
        return read_saved_dataset(path, covariates)
    suffix = _suffix(path)
    if suffix not in READERS and path.exists():
        raise DataError(f"{path}: no reader for {suffix or 'a file without suffix'}; there are: {', '.join(READERS)}")
    return READERS.get(suffix, read_csv)(path, covariates, dialect)


def _suffix(path: Path) -> str:
    """Suffix by which a file is read, in lower case, with that of a compressed file."""
    two = "".join(path.suffixes[-2:]).lower()
    return two if two in READERS else path.suffix.lower()


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


def _delimited(path: Path, separator: str, covariates: Collection[str], dialect: Dialect) -> pd.DataFrame:
    frame = parse_delimited(path, separator, dialect)
    for column in covariates:
        if column in frame and isinstance(frame[column], pd.Series):
            frame[column] = _numeric(frame[column])
    return frame


def _with_package(name: str, reader: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    try:
        return reader()
    except ImportError:
        raise DataError(f"a table of this kind is read by {name}: pip install 'causalopt[tables]'") from None


def _numeric(cells: pd.Series) -> pd.Series:
    """Return numbers if every cell is one (or missing), else the cells unchanged."""
    try:
        return cells.map(number, na_action="ignore").astype("float64")
    except ValueError:
        return cells


def _parse_json(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as stream:
        start = stream.read(1024).lstrip()
    if not start.startswith("["):
        return _parse_jsonl(path)
    records = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_key_once)
    for i, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise ValueError(f"item {i} of its list is not a JSON object")
    return pd.DataFrame.from_records(records)


def _parse_jsonl(path: Path) -> pd.DataFrame:
    records = []
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as lines:
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
