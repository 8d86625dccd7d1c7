"""Argilla: records with the responses of their annotators."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from causalopt.data.logs.log import Log, field, make_log, prompt_of, tables_of, text_of

TEXT = ("text", "response", "answer", "completion", "output")
PROMPT = ("prompt", "question", "instruction", "chat", "messages")
RESPONSES = re.compile(r"(.+)\.responses")


def read_argilla(path: Path) -> Log:
    """Read a folder that ``dataset.records.to_datasets().save_to_disk`` wrote, or the same table in a file.

    Every submitted response is a reading, by its user; responses are in columns ``QUESTION.responses``, with the users
    in ``QUESTION.responses.users``. Fields of the usual names are the text and the prompt.
    """
    rows: list[dict[str, Any]] = []
    feedback = []
    for number, record in enumerate(tables_of(path)):
        readers: dict[Any, None] = {}
        for column, responses in record.items():
            question = RESPONSES.fullmatch(column)
            if question is None or responses is None:
                continue
            users = record.get(f"{column}.users")
            status = record.get(f"{column}.status")
            for i, value in enumerate(responses):
                if status is not None and status[i] != "submitted":
                    continue
                by = i if users is None else users[i]
                readers[by] = None
                feedback.append(((number, by), question[1], value))
        for by in readers or {f"nobody, record {number}": None}:
            rows.append({
                "keys": [(number, by)],
                "text": text_of(field(record, *TEXT)),
                "prompt": prompt_of(_as_list(field(record, *PROMPT))),
                "reader": by,
            })  # fmt: skip
    return make_log(rows, feedback, path, "Argilla")


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else list(value)
