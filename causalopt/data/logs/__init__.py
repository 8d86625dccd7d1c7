"""Readers of feedback logs: the files that tools for tracing and annotation export, as a table of readings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from causalopt.data.logs.argilla import read_argilla
from causalopt.data.logs.label_studio import read_label_studio
from causalopt.data.logs.langfuse import read_langfuse
from causalopt.data.logs.log import Log
from causalopt.data.logs.mlflow import read_mlflow
from causalopt.data.logs.phoenix import read_phoenix
from causalopt.data.logs.tensorzero import read_tensorzero
from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

LOGS: dict[str, Callable[[Path], Log]] = {
    "argilla": read_argilla,
    "label-studio": read_label_studio,
    "langfuse": read_langfuse,
    "mlflow": read_mlflow,
    "phoenix": read_phoenix,
    "tensorzero": read_tensorzero,
}
"""Readers by the name of the tool that wrote the files."""


def read_log(name: str, path: Path) -> Log:
    """Read the files that a tool exported.

    Raises
    ------
    ConfigError
        If there is no reader of that name.
    DataError
        If the files are not such an export, or hold no text that was rated.
    """
    if name not in LOGS:
        raise ConfigError(
            f"data.format: no log is called {name!r}{did_you_mean(name, LOGS)}; there are: {', '.join(LOGS)}"
        )
    return LOGS[name](path)


__all__ = ["LOGS", "Log", "read_log"]
