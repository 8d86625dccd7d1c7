"""Comparisons of a run: other policies from the same reference, and what they may be called."""

from __future__ import annotations

import re
from typing import Any

from causalopt.run.settings import NamedPart, Section
from causalopt.signatures import shown


class ComparisonConfig(Section):
    """Another policy from the same reference, with these parts instead of the run's own."""

    objective: NamedPart | None = None
    outcome_model: NamedPart | None = None
    assignment_model: NamedPart | None = None
    observation_model: NamedPart | None = None


RESERVED = ("policy", "reference", "optimised", "logged", "end", "work")
"""Names that tables, plots, commands and folders of a run give to other policies."""
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Names that are no files on Windows, where a run may be read."""
LONGEST_NAME = 100


def are_folder_names(named: dict[str, Any]) -> dict[str, Any]:
    """Check the names of comparisons, which become folders: letters, digits, spaces and ``_ - . ( )``."""
    seen: dict[str, str] = {}
    for name in named:
        if not re.fullmatch(r"\w(?:[\w .()-]*[\w)])?", name):
            raise ValueError(
                f"{shown(name)} cannot be the name of a comparison, which becomes a folder: use letters, digits, "
                "spaces, and any of _ - . ( ) inside"
            )
        if len(name.encode()) > LONGEST_NAME or name.lower().split(".")[0] in DEVICES:
            raise ValueError(
                f"{shown(name)} cannot be the name of a comparison, which becomes a folder: choose a name of at most "
                f"{LONGEST_NAME} bytes that is none of a device"
            )
        if name.lower() in RESERVED:
            raise ValueError(f"{name!r} is the name of another policy of the run; choose another for the comparison")
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{name!r} and {other!r} differ in case alone, which some file systems do not tell apart")
    return named
