"""Langfuse: observations joined with scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalopt.data.logs.log import Log, field, make_log, prompt_of, tables_of, text_of


def read_langfuse(path: Path) -> Log:
    """Read a folder of a Langfuse blob-storage export, or of its tables saved from the API.

    It holds ``observations`` (or ``observations_v2``), ``scores`` and perhaps ``traces``, as folders or files of JSON,
    JSON Lines or CSV. Generations are the texts; a score belongs to its observation, or else to all generations of its
    trace. The user is the reader, the session the group, and the prompt's version (or the model) the logger.
    """
    traces = {field(one, "id"): one for one in tables_of(path, "traces")}
    rows = []
    for one in tables_of(path, "observations"):
        if str(field(one, "type") or "GENERATION").upper() != "GENERATION":
            continue
        trace = field(one, "trace_id", "traceId")
        of_trace = traces.get(trace, {})
        rows.append({
            "keys": [("observation", field(one, "id")), ("trace", trace)],
            "text": text_of(field(one, "output")),
            "prompt": prompt_of(field(one, "input")),
            "reader": field(one, "user_id", "userId") or field(of_trace, "user_id", "userId"),
            "group": field(one, "session_id", "sessionId") or field(of_trace, "session_id", "sessionId"),
            "logger": _prompt(one) or field(one, "provided_model_name", "providedModelName", "model"),
            "time": field(one, "start_time", "startTime", "timestamp"),
        })  # fmt: skip
    feedback = []
    for one in tables_of(path, "scores"):
        observation = field(one, "observation_id", "observationId")
        key = ("trace", field(one, "trace_id", "traceId")) if observation is None else ("observation", observation)
        value = field(one, "value")
        if str(field(one, "data_type", "dataType") or "").upper() == "CATEGORICAL":
            value = field(one, "string_value", "stringValue")
        feedback.append((key, str(field(one, "name")), value))
    return make_log(rows, feedback, path, "Langfuse")


def _prompt(one: dict[str, Any]) -> str | None:
    name, version = field(one, "prompt_name", "promptName"), field(one, "prompt_version", "promptVersion")
    return None if name is None else f"{name} {version}" if version is not None else str(name)
