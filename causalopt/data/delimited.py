"""Tables of delimited text: how they are written is found from the file, unless it is given."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pandas as pd

from causalopt.errors import CausalOptWarning, ConfigError, DataError, DroppedRowsWarning
from causalopt.signatures import shown

SEPARATORS = (",", ";", "\t", "|")
SAMPLE = 2**18
"""Characters that are read to find the separator."""
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WESTERN = "cp1252"
"""Windows-1252, which contains Latin-1; the one encoding besides Unicode that is tried."""
_NOT_WESTERN = re.compile(r"[^\W\d_a-zA-Z]{4,}|[\x80-\x9f¤¦¨¬¯²³¸¹¼¾ÐÞðþ×÷ƒˆ]")
_SURVEY_MARK = '"ImportId"'
"""What Qualtrics writes into every cell of the last of its header rows."""


@dataclass(frozen=True)
class Dialect:
    """How a table of delimited text is written; None is found from the file.

    Attributes
    ----------
    sep:
        The separator, one character.
    encoding:
        By its Python name, such as "cp1252" or "utf-16".
    skip_rows:
        How many lines to leave out above the header, or the positions of lines to leave out, from 0, of which the
        header is one that is kept, as ``skiprows`` of `pandas.read_csv`.

    Examples
    --------
    >>> from causalopt.data.delimited import Dialect
    >>> Dialect(sep=";", skip_rows=[1, 2]).skip_rows
    (1, 2)
    """

    sep: str | None = None
    encoding: str | None = None
    skip_rows: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.sep is not None and (not isinstance(self.sep, str) or len(self.sep) != 1):
            raise ConfigError(f"sep must be one character, such as ';' or a tab, not {shown(self.sep)}")
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
            except (LookupError, TypeError, ValueError):
                raise ConfigError(
                    f"encoding must be the name of one, such as utf-8, not {shown(self.encoding)}"
                ) from None
        rows = self.skip_rows
        if isinstance(rows, list | tuple):
            object.__setattr__(self, "skip_rows", tuple(rows))
        if rows is not None and not all(
            isinstance(row, int) and not isinstance(row, bool) and row >= 0
            for row in (rows if isinstance(rows, list | tuple) else [rows])
        ):
            raise ConfigError(f"skip_rows must be a whole number or a list of them, not {shown(rows)}")


def parse_delimited(path: Path, default: str, dialect: Dialect) -> pd.DataFrame:
    """Return all cells as they are written, an empty cell and ``NA`` as None.

    Parameters
    ----------
    path:
        May be compressed by gzip, or be a zip archive of one file.
    default:
        The separator that the file's name promises; another is found if the lines have several cells by it alone.
    dialect:
        What is given of how the table is written.
    """
    encoding = dialect.encoding or _encoding(path)
    with _opened(path) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        sample = text.read(SAMPLE)
    separator = dialect.sep or _separator(sample, default)
    described = _extra_header_rows(sample, separator) if dialect.skip_rows is None else ()
    skipped = dialect.skip_rows or list(described)
    if described:
        warnings.warn(
            f"{path}: {len(described)} rows below the header describe the columns and were left out (a survey's "
            "export); skip_rows: 0 keeps them",
            DroppedRowsWarning,
            stacklevel=2,
        )
    with _opened(path) as stream:
        # Keep every cell as it is written: a text may well be "None" or "2020", and a group "007". Without a header,
        # as pandas would rename the second of two equal names.
        try:
            frame = pd.read_csv(
                stream, sep=separator, encoding=encoding, dtype=str, na_filter=False, header=None,
                skiprows=skipped if isinstance(skipped, int) else list(skipped),
            )  # fmt: skip
        except pd.errors.ParserError as error:
            ragged = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
            if ragged is None:
                raise
            raise ValueError(
                f"line {ragged[2]} has {ragged[3]} cells and the header {ragged[1]}; put texts that contain "
                f"{separator!r} in quotes, or name another separator (data.sep)"
            ) from None
    names = [str(name) for name in frame.iloc[0]]
    frame = frame.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    frame = _without_equal_columns(frame, path)
    if frame.columns.is_unique:
        for column in frame.columns:
            frame[column] = frame[column].where(~frame[column].isin(["", "NA"]), None)
    return frame


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as unpacked:
            yield cast(IO[bytes], unpacked)
    elif path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
            if len(members) != 1:
                raise DataError(f"{path}: holds {len(members)} files; a table is one")
            with archive.open(members[0]) as stream:
                yield stream
    else:
        with path.open("rb") as stream:
            yield stream


def _encoding(path: Path) -> str:
    with _opened(path) as stream:
        head = stream.read(4)
        marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
        if marked is not None:
            return marked
        decoder = codecs.getincrementaldecoder("utf-8")()
        part = head
        try:
            while part:
                decoder.decode(part)
                part = stream.read(2**20)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return _western(path, part, error)
    return "utf-8"


def _western(path: Path, part: bytes, error: UnicodeDecodeError) -> str:
    """Return Windows-1252 with a warning, if what is no UTF-8 reads like a western European language in it."""
    refusal = DataError(f"{path}: is not UTF-8; name its encoding (data.encoding, such as cp1251), or save it as UTF-8")
    try:
        text = part.decode(WESTERN)
    except UnicodeDecodeError:
        raise refusal from None
    if _NOT_WESTERN.search(text):
        raise refusal
    word = next(iter(re.findall(r"\w*[^\W\d_a-zA-Z]\w*|[^\x00-\x7f]", text)), "")
    warnings.warn(
        f"{path}: is not UTF-8, and was read as Windows-1252, as in {word!r}; if that is wrong, name its encoding "
        "(data.encoding)",
        CausalOptWarning,
        stacklevel=2,
    )
    return WESTERN


def _separator(sample: str, default: str) -> str:
    """Separator by which every line has as many cells as the first, and more than one."""
    widths = {separator: _width(sample, separator) for separator in SEPARATORS}
    if widths[default] > 1 or max(widths.values()) < 2:
        return default
    return max(SEPARATORS, key=lambda separator: widths[separator])


def _width(sample: str, separator: str) -> int:
    """Cells of every line; 0 if they differ."""
    records = _records(sample, separator)
    if len(sample) >= SAMPLE:
        records = records[:-1]  # it may be cut
    widths = {len(record) for record in records if record}
    return widths.pop() if len(widths) == 1 else 0


def _records(sample: str, separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(sample, newline=""), delimiter=separator))
    except csv.Error:
        return []


def _extra_header_rows(sample: str, separator: str) -> tuple[int, ...]:
    """Positions of the rows below the header of a survey's export that repeat questions and name imports."""
    records = _records(sample, separator)[:4]
    for row, record in enumerate(records[1:], start=1):
        if record and all(_SURVEY_MARK in cell for cell in record):
            return tuple(range(1, row + 1))
    return ()


def _without_equal_columns(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Keep one of several columns of one name whose cells are equal; others are refused where they have a role."""
    repeated = frame.columns[frame.columns.duplicated()].unique()
    for name in repeated:
        same = frame.loc[:, frame.columns == name]
        if same.eq(same.iloc[:, 0], axis=0).all(axis=None):
            warnings.warn(
                f"{path}: {same.shape[1]} columns are called {name!r} and are equal; one was kept",
                CausalOptWarning,
                stacklevel=3,
            )
            keep = ~((frame.columns == name) & frame.columns.duplicated())
            frame = frame.loc[:, keep]
    return frame
