"""MLflow: traces with their assessments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from causalopt.data.logs.log import Log, field, make_log, plain, prompt_of, tables_of, text_of


def read_mlflow(path: Path) -> Log:
    """Read the table that ``mlflow.search_traces`` returns, saved as JSON Lines or Parquet: a file, or a folder.

    Feedback among the assessments of a trace is its feedback; expectations are not. The metadata
    ``mlflow.trace.user`` and ``mlflow.trace.session`` are the reader and the group.
    """
    rows, feedback = [], []
    for one in tables_of(path, ""):
        key = field(one, "trace_id", "request_id")
        about = {**_mapping(one, "request_metadata"), **_mapping(one, "trace_metadata"), **_mapping(one, "tags")}
        rows.append({
            "keys": [key],
            "text": text_of(field(one, "response")),
            "prompt": prompt_of(field(one, "request")),
            "reader": about.get("mlflow.trace.user"),
            "group": about.get("mlflow.trace.session"),
            "logger": about.get("mlflow.modelId"),
            "time": field(one, "request_time", "timestamp_ms"),
        })  # fmt: skip
        for assessment in _list(field(one, "assessments")):
            given = assessment.get("feedback")
            if isinstance(given, dict) and given.get("value") is not None:
                feedback.append((key, str(field(assessment, "assessment_name", "name")), given["value"]))
    return make_log(rows, feedback, path, "MLflow")


def _mapping(one: dict[str, Any], name: str) -> dict[str, Any]:
    value = plain(one.get(name))
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    value = plain(value)
    return [] if value is None or isinstance(value, str) else [one for one in value if isinstance(one, dict)]
