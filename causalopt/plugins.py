"""One registry for each kind of replaceable part, based on entry points: built-in parts register as plugins do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from causalopt.errors import CausalOptError, ConfigError, one_line
from causalopt.signatures import check_settings, shown
from causalopt.suggestion import did_you_mean

OWN = "causalopt"
"""The distribution of the built-in parts."""


@cache
def _installed(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points of a group by name, cached: reading the metadata of all packages takes some ten milliseconds."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, {}).setdefault(_distribution(point), point)
    return {name: tuple(points.values()) for name, points in found.items()}


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


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
        self._in_code: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that registers a class or function under ``name``; a later one replaces an earlier one."""

        def decorate(factory: Any) -> Any:
            self._in_code[name] = factory
            return factory

        return decorate

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._in_code, *self._entry_points()})

    def origin(self, name: str) -> str:
        """Name the distribution that provides ``name``: all that do, or "in code" if a decorator registered it."""
        if name in self._in_code:
            return "in code"
        return " and ".join(map(_distribution, self._entry_points()[name]))

    def get(self, name: str) -> Any:
        """Return the registered object itself.

        Raises
        ------
        ConfigError
            If the name is unknown (the message lists the known ones), if two packages register it, or if the package
            that does cannot be imported.
        """
        if name in self._in_code:
            return self._in_code[name]
        points = self._entry_points().get(name, ())
        if not points:
            hint = did_you_mean(name, self.names())
            raise ConfigError(f"no {self.kind} is called {name!r}{hint}; there are: {', '.join(self.names())}")
        if len(points) > 1:
            raise ConfigError(
                f"{self.kind} {name!r} is registered by {self.origin(name)}, and which one is meant is not known: "
                "uninstall one of them, or rename its entry point"
            )
        try:
            factory = points[0].load()
        except (Exception, SystemExit) as error:  # importing a plugin runs code of somebody else
            raise ConfigError(
                f"{self.kind} {name!r} of the package {self.origin(name)} cannot be loaded ({one_line(error)}): "
                "mend, update or uninstall that package"
            ) from error
        if not callable(factory):
            raise ConfigError(
                f"{self.kind} {name!r} of the package {self.origin(name)} is a {type(factory).__name__}, and must be a "
                "class or a function: mend, update or uninstall that package"
            )
        return factory

    def create(self, spec: str | Mapping[str, Any] | Any) -> Any:
        """Build the part that ``spec`` describes.

        ``spec`` is a name, a mapping with a ``name`` and the factory's keyword arguments, or a ready object, which
        is returned unchanged.

        Raises
        ------
        ConfigError
            If there is no such part, a setting is unknown or of a wrong type (see
            `causalopt.signatures.check_settings`), or a part from another package cannot be built.
        """
        if isinstance(spec, str):
            spec = {"name": spec}
        if isinstance(spec, type):
            raise ConfigError(f"{self.kind}: {spec.__name__} is a class: make an instance of it")
        if spec is None or isinstance(spec, int | float | bytes):
            raise ConfigError(
                f"{self.kind}: {shown(spec)} is neither a name, nor a mapping with a name, nor a ready object; there "
                f"are: {', '.join(self.names())}"
            )
        if not isinstance(spec, Mapping):
            return spec
        settings = dict(spec)
        name = settings.pop("name", None)
        if not isinstance(name, str) or not all(isinstance(key, str) for key in settings):
            raise ConfigError(f"a {self.kind} needs a 'name'; there are: {', '.join(self.names())}")
        factory = self.get(name)
        what = f"{self.kind} {name!r}"
        try:
            return factory(**check_settings(factory, settings, what))
        except CausalOptError:
            raise
        except Exception as error:
            if self.origin(name) == OWN:
                raise  # a built-in part says itself what is wrong with a setting
            raise ConfigError(f"{what} ({self.origin(name)}) cannot be built: {one_line(error)}") from error

    def _entry_points(self) -> dict[str, tuple[EntryPoint, ...]]:
        return _installed(self.group)


embedders = Registry("embedder", "causalopt.embedders")
attribute_coders = Registry("attribute coder", "causalopt.attribute_coders")
outcome_models = Registry("outcome model", "causalopt.outcome_models")
assignment_models = Registry("assignment model", "causalopt.assignment_models")
observation_models = Registry("observation model", "causalopt.observation_models")
objectives = Registry("objective", "causalopt.objectives")
backends = Registry("backend", "causalopt.backends")
worlds = Registry("world", "causalopt.worlds")
executors = Registry("executor", "causalopt.executors")
judges = Registry("judge", "causalopt.judges")

REGISTRIES: dict[str, Registry] = {
    "embedders": embedders,
    "attribute_coders": attribute_coders,
    "outcome_models": outcome_models,
    "assignment_models": assignment_models,
    "observation_models": observation_models,
    "objectives": objectives,
    "backends": backends,
    "worlds": worlds,
    "executors": executors,
    "judges": judges,
}


def registered_in_code() -> dict[str, dict[str, Any]]:
    """Return the parts that decorators registered in this process, by kind and name; another one knows none of them."""
    return {kind: dict(registry._in_code) for kind, registry in REGISTRIES.items() if registry._in_code}


def register_in_code(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Register what `registered_in_code` returned in another process."""
    for kind, named in parts.items():
        REGISTRIES[kind]._in_code.update(named)
