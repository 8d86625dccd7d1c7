"""Phoenix and OpenInference: spans joined with annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalopt.data.logs.log import Log, field, make_log, plain, prompt_of, tables_of, text_of


def read_phoenix(path: Path) -> Log:
    """Read a folder with ``spans`` and ``annotations``, the two tables of Phoenix' client, saved with their index.

    Spans of kind LLM are the texts (of any kind, if none is). An annotation gives its score, or else its label. The
    attribute ``user.id`` is the reader, ``session.id`` the group, and the model the logger.
    """
    spans = tables_of(path, "spans")
    written = [one for one in spans if str(_attribute(one, "openinference.span.kind") or one.get("span_kind")) == "LLM"]
    rows = [
        {
            "keys": [field(one, "context.span_id", "span_id", "index")],
            "text": text_of(_message(_attribute(one, "llm.output_messages")) or _attribute(one, "output.value")),
            "prompt": prompt_of(_messages(_attribute(one, "llm.input_messages")) or _attribute(one, "input.value")),
            "reader": _attribute(one, "user.id"),
            "group": _attribute(one, "session.id") or field(one, "context.trace_id", "trace_id"),
            "logger": _attribute(one, "llm.model_name"),
            "time": field(one, "start_time"),
        }
        for one in written or spans
    ]
    feedback = []
    for one in tables_of(path, "annotations"):
        score = field(one, "result.score", "score")
        value = field(one, "result.label", "label") if score is None else score
        feedback.append((field(one, "span_id", "context.span_id"), str(field(one, "annotation_name", "name")), value))
    return make_log(rows, feedback, path, "Phoenix")


def _attribute(span: dict[str, Any], name: str) -> Any:
    """Return an attribute of a span: a column of its own, or nested in one of its beginnings."""
    parts = ["attributes", *name.split(".")]
    for split in range(len(parts), 0, -1):
        value = plain(span.get(".".join(parts[:split])))
        for part in parts[split:]:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def _messages(value: Any) -> list[dict[str, Any]] | None:
    """Return OpenInference's messages, whose keys begin with ``message.`` or are nested in ``message``."""
    value = plain(value)
    if value is None or isinstance(value, str):
        return None
    found = []
    for one in value:
        inner = one.get("message", one)
        found.append({key: field(inner, key, f"message.{key}") for key in ("role", "content")})
    return found or None


def _message(value: Any) -> Any:
    messages = _messages(value)
    return None if messages is None else messages[-1]
