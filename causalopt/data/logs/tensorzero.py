"""TensorZero: inferences joined with boolean and float feedback."""

from __future__ import annotations

from pathlib import Path

from causalopt.data.logs.log import Log, field, make_log, plain, prompt_of, tables_of, text_of

USER = ("user_id", "user", "userId")
"""Tags that name the reader."""


def read_tensorzero(path: Path) -> Log:
    """Read a folder with the tables ``ChatInference``, ``BooleanMetricFeedback`` and ``FloatMetricFeedback``.

    Feedback belongs to an inference, or to all inferences of its episode. The tag ``user_id`` is the reader, the
    episode the group, and the variant the logger.
    """
    rows = []
    for one in tables_of(path, "chatinference"):
        tags = plain(field(one, "tags")) or {}
        rows.append({
            "keys": [str(field(one, "id")), str(field(one, "episode_id"))],
            "text": text_of(field(one, "output")),
            "prompt": prompt_of(field(one, "input")),
            "reader": field(tags, *USER) if isinstance(tags, dict) else None,
            "group": field(one, "episode_id"),
            "logger": field(one, "variant_name"),
            "time": field(one, "timestamp"),
        })  # fmt: skip
    feedback = [
        (str(field(one, "target_id")), str(field(one, "metric_name")), one.get("value"))
        for kind in ("booleanmetricfeedback", "floatmetricfeedback")
        for one in (tables_of(path, kind) if path.is_dir() else [])
    ]
    return make_log(rows, feedback, path, "TensorZero")
