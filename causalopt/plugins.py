"""One registry for each kind of replaceable part, based on entry points: built-in parts register as plugins do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, cached: reading the metadata of all packages takes some ten milliseconds."""
    return {point.name: point for point in entry_points(group=group)}


class Registry:
    """Named factories of one kind, found in an entry-point group or registered in code.

    Parameters
    ----------
    kind:
        Name of the kind for messages ("outcome model").
    group:
        The entry-point group ("causalopt.outcome_models").

    Examples
    --------
    >>> from causalopt.plugins import outcome_models
    >>> "ridge" in outcome_models.names()
    True
    >>> outcome_models.create({"name": "ridge"}).__class__.__name__
    'RidgeOutcome'
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self.in_code: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that registers a class or function under ``name``; a later one replaces an earlier one."""

        def decorate(factory: Any) -> Any:
            self.in_code[name] = factory
            return factory

        return decorate

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self.in_code, *self._entry_points()})

    def origin(self, name: str) -> str:
        """Name the distribution that provides ``name`` ("in code" if a decorator registered it)."""
        if name in self.in_code:
            return "in code"
        point = self._entry_points()[name]
        return point.dist.name if point.dist is not None else "unknown"

    def get(self, name: str) -> Any:
        """Return the registered object itself; an unknown name raises a `ConfigError` that lists the known ones."""
        if name in self.in_code:
            return self.in_code[name]
        points = self._entry_points()
        if name not in points:
            hint = did_you_mean(name, self.names())
            raise ConfigError(f"no {self.kind} is called {name!r}{hint}; there are: {', '.join(self.names())}")
        try:
            return points[name].load()
        except ImportError as error:
            raise ConfigError(f"{self.kind} {name!r} cannot be loaded: {error}") from error

    def create(self, spec: str | Mapping[str, Any] | Any) -> Any:
        """Build the part that ``spec`` describes.

        ``spec`` is a name, a mapping with a ``name`` and the factory's keyword arguments, or a ready object, which
        is returned unchanged.
        """
        if isinstance(spec, str):
            spec = {"name": spec}
        if not isinstance(spec, Mapping):
            return spec
        settings = dict(spec)
        name = settings.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(f"a {self.kind} needs a 'name'; there are: {', '.join(self.names())}")
        factory = self.get(name)
        accepted = inspect.signature(factory).parameters
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values()):
            for key in settings:
                if key not in accepted:
                    hint = did_you_mean(key, accepted)
                    raise ConfigError(
                        f"{self.kind} {name!r} has no setting {key!r}{hint}; it takes: {', '.join(accepted) or 'none'}"
                    )
        return factory(**settings)

    def _entry_points(self) -> dict[str, EntryPoint]:
        return _installed(self.group)


embedders = Registry("embedder", "causalopt.embedders")
outcome_models = Registry("outcome model", "causalopt.outcome_models")
assignment_models = Registry("assignment model", "causalopt.assignment_models")
observation_models = Registry("observation model", "causalopt.observation_models")
objectives = Registry("objective", "causalopt.objectives")
backends = Registry("backend", "causalopt.backends")
worlds = Registry("world", "causalopt.worlds")
executors = Registry("executor", "causalopt.executors")

REGISTRIES: dict[str, Registry] = {
    "embedders": embedders,
    "outcome_models": outcome_models,
    "assignment_models": assignment_models,
    "observation_models": observation_models,
    "objectives": objectives,
    "backends": backends,
    "worlds": worlds,
    "executors": executors,
}


def registered_in_code() -> dict[str, dict[str, Any]]:
    """Return the parts that decorators registered in this process, by kind and name; another one knows none of them."""
    return {kind: dict(registry.in_code) for kind, registry in REGISTRIES.items() if registry.in_code}


def register_in_code(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Register what `registered_in_code` returned in another process."""
    for kind, named in parts.items():
        REGISTRIES[kind].in_code.update(named)
