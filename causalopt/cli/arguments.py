"""Paths as arguments of the command line."""

from __future__ import annotations

from pathlib import Path

from causalopt.errors import ConfigError
from causalopt.output import impossible, shown_path


def path(text: str) -> Path:
    """Return the path that an argument names, whether it exists or not.

    Raises
    ------
    ConfigError
        If no file or folder can have this name.
    """
    reason = impossible(text)
    if reason is not None:
        raise ConfigError(f"{shown_path(text)}: {reason}; name another path")
    return Path(text)
