"""Methods of the user's own, named on the command line or in a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.confounding.catalogue import CATALOGUE
from benchmarks.confounding.methods.contract import find_factory
from causalopt.errors import ConfigError
from causalopt.run.config import read_mapping

SECTION = "methods"


def own_methods(factories: Sequence[str], file: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the settings of each method by its name in tables: "package.module:factory", or its name in the file.

    Parameters
    ----------
    factories:
        Each "package.module:factory".
    file:
        YAML with the section ``methods``: for each name a factory, or a mapping of ``method``, the factory, and its
        keyword arguments.

    Raises
    ------
    ConfigError
        If the file is no such thing, a name is one of ours, or a factory cannot be imported.
    """
    found: dict[str, dict[str, Any]] = {path: {"method": path} for path in factories}
    named = {} if file is None else read_mapping(file, (), required=SECTION).get(SECTION)
    if not isinstance(named, dict) or (file is not None and not named):
        raise ConfigError(f"{file}: must have a section {SECTION!r} with a name for each method")
    for name, given in named.items():
        spec = {"method": given} if isinstance(given, str) else given
        if not isinstance(spec, dict) or not isinstance(spec.get("method"), str):
            raise ConfigError(
                f"{file}: {SECTION}.{name} must be package.module:factory, or a mapping with that as 'method'"
            )
        if name in CATALOGUE or name in found:
            raise ConfigError(f"{file}: {SECTION}.{name}: there is a method of that name; choose another")
        found[str(name)] = dict(spec)
    for spec in found.values():
        find_factory(spec["method"])
    return found
