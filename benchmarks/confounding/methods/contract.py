"""What a method must offer, and how one is made from a table of settings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError, one_line
from causalopt.simulation.contracts import World


@runtime_checkable
class Method(Protocol):
    """Turns logged rows and the reference policy into a policy; it never meets the truth."""

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        """Return a policy over texts; it must give log-probabilities of any text of the world."""
        ...


@runtime_checkable
class SeesTheWorld(Protocol):
    """Something that is given the world before it is fitted: an oracle, or a design with a second data set."""

    def with_world(self, world: World) -> Method:
        """Return the method with what it takes from the world."""
        ...


def find_factory(path: str) -> Callable[..., Any]:
    """Return what "package.module:factory" names.

    Raises
    ------
    ConfigError
        If it cannot be imported, or there is no such factory.
    """
    module, _, name = path.partition(":")
    try:
        factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        hint = "install causalopt[bench]" if "trl" in str(error) else "name it as package.module:factory"
        raise ConfigError(f"method {path!r} cannot be loaded ({error}): {hint}") from error
    return factory


def make_method(spec: Mapping[str, Any], world: World) -> Method:
    """Build the method that ``spec`` describes: ``method`` is "package.module:factory", all else its keywords.

    Raises
    ------
    ConfigError
        When there is no such factory, or what it makes cannot be fitted.
    """
    settings = dict(spec)
    path = settings.pop("method")
    factory = find_factory(path)
    try:
        made = factory(**settings)
    except TypeError as error:
        raise ConfigError(f"method {path!r} cannot be made with the settings {settings}: {one_line(error)}") from error
    if isinstance(made, SeesTheWorld):
        made = made.with_world(world)
    if not isinstance(made, Method):
        raise ConfigError(f"{path} makes a {type(made).__name__}, which has no fit(dataset, reference)")
    return made
