"""What every reader of a feedback log makes: one row for each text that was shown, rated or not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.files import READERS, read_table
from causalopt.errors import DataError

ROLES = ("text", "prompt", "reader", "group", "logger")
"""Columns of a log that fill the role of their name; ``time`` is there too, and has no role unless it is asked for."""


ASKED = ("prompt", "question", "query", "input")
WRITTEN = ("content", "text", "output", "answer", "response")
"""Usual keys of what a model was given and of what it wrote, in an object."""


@dataclass(frozen=True)
class Log:
    """A feedback log.

    Attributes
    ----------
    frame:
        A row for each text that was shown. ``text`` is what was read, and ``prompt`` what it answers (a string or a
        list of messages); ``reader``, ``group`` (a session or an episode), ``logger`` (a variant, a prompt or a model)
        and ``time``, where the export has them; and a column for each kind of feedback, None where nobody gave it.
    scores:
        Names of the columns of feedback.
    """

    frame: pd.DataFrame
    scores: tuple[str, ...]


def make_log(rows: Sequence[Mapping[str, Any]], feedback: Sequence[tuple[Any, str, Any]], path: Path, tool: str) -> Log:
    """Join texts with their feedback.

    Parameters
    ----------
    rows:
        Each with ``keys`` (all ids by which feedback may name it), ``text`` and what else of `ROLES` there is. A row
        whose text is None is left out: it is no text, but a call of a tool, say.
    feedback:
        Key, name and value of each piece of feedback; of several of one name for one text, the last one counts.
    path, tool:
        Of the export, for messages.
    """
    shown = [row for row in rows if isinstance(row.get("text"), str) and row["text"].strip()]
    if not shown:
        raise DataError(f"{path}: holds no text that a model wrote; is this an export of {tool}?")
    if not feedback:
        raise DataError(f"{path}: holds {len(shown):,} texts and no feedback; export the feedback too")
    names = tuple(dict.fromkeys(name for _, name, _ in feedback))
    given = {(key, name): value for key, name, value in feedback}
    known = {key for row in shown for key in row["keys"]}
    strange = sum(key not in known for key in {key for key, _, _ in feedback})
    if strange == len({key for key, _, _ in feedback}):
        raise DataError(f"{path}: none of its feedback names a text of it; export texts and feedback of the same time")
    taken = {*ROLES, "time"}
    columns = {name: f"score {name}" if name in taken else name for name in names}
    records = []
    for row in shown:
        record = {name: value for name, value in row.items() if name != "keys"}
        for name in names:
            record[columns[name]] = next((given[key, name] for key in row["keys"] if (key, name) in given), None)
        records.append(record)
    return Log(pd.DataFrame.from_records(records), tuple(columns.values()))


def tables_of(path: Path, stem: str | None = None) -> list[dict[str, Any]]:
    """Return the records of all tables in a folder whose path below it begins with ``stem``, or of a file itself.

    Without a stem, a folder is one table that `datasets` saved. Missing cells are None.
    """
    files = [path] if path.is_file() or stem is None else sorted(_below(path, stem))
    records: list[dict[str, Any]] = []
    for file in files:
        frame = read_table(file)
        frame = (frame if frame.index.name is None else frame.reset_index()).astype(object)
        frame = frame.where(frame.map(_is_there), None)
        records += [{str(key): cell for key, cell in record.items()} for record in frame.to_dict(orient="records")]
    return records


def _below(path: Path, stem: str) -> Iterator[Path]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    for file in path.rglob("*"):
        is_table = any(file.name.lower().endswith(suffix) for suffix in READERS)
        if is_table and file.is_file() and file.relative_to(path).as_posix().lower().startswith(stem):
            yield file


def _is_there(cell: Any) -> bool:
    return isinstance(cell, list | dict | np.ndarray) or not pd.isna(cell)


def field(record: Mapping[str, Any], *names: str) -> Any:
    """Return the first of several fields that is there: exports spell one in several ways."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def plain(value: Any) -> Any:
    """Return what a JSON string holds, if it is one of a list or an object, else the value."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def prompt_of(value: Any) -> Any:
    """Return what a model was given: a list of messages, or a string; None if it is neither."""
    value = plain(value)
    if isinstance(value, dict):
        system, messages = value.get("system"), value.get("messages")
        if isinstance(messages, list):
            before = [] if system is None else [{"role": "system", "content": system}]
            return [_message(one) for one in [*before, *messages]]
        return next((value[key] for key in ASKED if isinstance(value.get(key), str)), None)
    if isinstance(value, list) and value:
        return [_message(one) for one in value]
    return value if isinstance(value, str) else None


def text_of(value: Any) -> str | None:
    """Return the text that a model wrote: of a string, a message, blocks of content, or a provider's response."""
    value = plain(value)
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if isinstance(value.get("choices"), list) and value["choices"]:
            return text_of(value["choices"][0].get("message"))
        inner = next((value[key] for key in WRITTEN if value.get(key)), None)
        return None if inner is None else text_of(inner)
    if isinstance(value, list):
        blocks = [one for one in value if isinstance(one, dict) and one.get("type", "text") == "text"]
        parts = [one.get("text") or one.get("value") for one in blocks]
        found = [part for part in parts if isinstance(part, str)]
        if found and len(found) == len(parts):
            return "".join(found)
        return text_of(value[-1]) if value and isinstance(value[-1], dict) and "content" in value[-1] else None
    return None


def _message(one: Any) -> Any:
    """Return a message with content that is text, where it came in blocks."""
    if not isinstance(one, dict):
        return {"role": "user", "content": str(one)}
    content = one.get("content")
    if isinstance(content, list):
        found = text_of(content)
        return {**one, "content": "" if found is None else found}
    return {key: value for key, value in one.items() if value is not None}
