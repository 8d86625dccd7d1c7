"""Label Studio: tasks with annotations, in its JSON export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalopt.data.logs.log import Log, field, make_log, plain, prompt_of, tables_of, text_of

TEXT = ("text", "response", "answer", "completion", "output")
PROMPT = ("prompt", "question", "instruction", "messages")


def read_label_studio(path: Path) -> Log:
    """Read a JSON export: each annotation is a reading, by the annotator who completed it.

    Ratings, numbers and single choices are feedback, by the name of their control. The task's data are the text and the
    prompt: fields ``text``, ``response``, ``answer``, ``completion`` or ``output``, and ``prompt``, ``question``,
    ``instruction`` or ``messages``.
    """
    rows, feedback = [], []
    for task in tables_of(path, ""):
        data = plain(task.get("data")) or {}
        for annotation in plain(task.get("annotations")) or []:
            if annotation.get("was_cancelled"):
                continue
            key = (task.get("id"), annotation.get("id"))
            by = annotation.get("completed_by")
            rows.append({
                "keys": [key],
                "text": text_of(field(data, *TEXT)),
                "prompt": prompt_of(field(data, *PROMPT)),
                "reader": by.get("id") if isinstance(by, dict) else by,
                "time": field(annotation, "created_at"),
            })  # fmt: skip
            for result in annotation.get("result") or []:
                value = _value(result)
                if value is not None:
                    feedback.append((key, str(result.get("from_name")), value))
    return make_log(rows, feedback, path, "Label Studio")


def _value(result: dict[str, Any]) -> Any:
    value = result.get("value") or {}
    if result.get("type") in ("rating", "number"):
        return value.get(result["type"])
    choices = value.get("choices") if result.get("type") == "choices" else None
    return choices[0] if isinstance(choices, list) and len(choices) == 1 else None
