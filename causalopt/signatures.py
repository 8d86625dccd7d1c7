"""Settings of a part against the types in its factory's signature, so that a wrong one is named before it is used."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

MOST_SEED = 2**32 - 1
"""Largest seed that every library takes."""
MOST_PER_ROW = 10_000
"""Largest number of texts drawn for each row."""
LARGEST_COUNT = 2**31 - 1
LARGEST_NUMBER = 1e100


def check_settings(factory: Callable[..., Any], settings: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the settings with numbers in the types that the signature of ``factory`` states.

    A number may be written as a string, since YAML reads 1e-3 as one, but neither a boolean nor nan or infinite. A type
    that is none of numbers, strings, booleans, literals, lists, mappings and paths is left to the factory.

    Parameters
    ----------
    factory:
        A class or a function.
    settings:
        Its keyword arguments.
    what:
        The part, for messages.

    Raises
    ------
    ConfigError
        If a setting is unknown, missing, of another type, not finite or beyond what libraries can take.

    Examples
    --------
    >>> from causalopt.signatures import check_settings
    >>> def ridge(penalty: float = 1.0, seed: int = 0): ...
    >>> check_settings(ridge, {"penalty": "1e-3"}, "outcome model 'ridge'")
    {'penalty': 0.001}
    >>> check_settings(ridge, {"penalty": "high"}, "outcome model 'ridge'")
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: outcome model 'ridge': penalty must be a number, not 'high'
    """
    accepted = inspect.signature(factory).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
    named = [name for name, one in accepted.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    for key in settings:
        if key not in named and not open_ended:
            hint = did_you_mean(str(key), named)
            raise ConfigError(f"{what} has no setting {key!r}{hint}; it takes: {', '.join(named) or 'none'}")
    for name in named:
        if accepted[name].default is inspect.Parameter.empty and name not in settings:
            raise ConfigError(f"{what} needs a setting {name!r}")
    hints = _hints(factory)
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        stated = hints.get(key)
        checked[key] = value if stated is None else _as(stated, value, f"{what}: {key}")
        if isinstance(checked[key], int | float) and not isinstance(checked[key], bool):
            low, high = _limits(key, checked[key])
            if not low <= checked[key] <= high:
                raise ConfigError(f"{what}: {key} must lie between {low:.10g} and {high:.10g}, not {shown(value)}")
    return checked


def _limits(key: str, value: float) -> tuple[float, float]:
    """Return what any library can take: a seed, a count, a number whose square is one too."""
    if key == "seed":
        return 0, MOST_SEED
    return (-LARGEST_COUNT, LARGEST_COUNT) if isinstance(value, int) else (-LARGEST_NUMBER, LARGEST_NUMBER)


def shown(value: object) -> str:
    """Show a value in a message; a long one is cut.

    Examples
    --------
    >>> from causalopt.signatures import shown
    >>> shown("high"), shown(10**100)[-9:]
    ("'high'", '000000...')
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a number of more digits than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    function = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # names that exist for type checkers alone, or no annotations
        return {}


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    type(None): "null",
}


def _as(hint: Any, value: Any, what: str) -> Any:
    options = _options(hint)
    words: list[str | None] = [_word(option) for option in options]
    if None in words or any(_matches(option, value) for option in options):
        return value
    for number in (int, float):
        converted = _number(value, number) if number in options else None
        if converted is not None:
            return converted
    raise ConfigError(f"{what} must be {' or '.join(dict.fromkeys(map(str, words)))}, not {shown(value)}")


def _options(hint: Any) -> list[Any]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(hint) for option in _options(part)]
    if typing.get_origin(hint) is typing.Annotated:
        return _options(typing.get_args(hint)[0])
    return [hint]


def _word(option: Any) -> str | None:
    """Describe a type; None for one that is left to the factory."""
    if option in _WORDS:
        return _WORDS[option]
    origin = typing.get_origin(option) or option
    if origin is Literal:
        return " or ".join(map(repr, typing.get_args(option)))
    if origin in (collections.abc.Mapping, dict):
        return "a mapping of settings"
    if origin in (collections.abc.Sequence, list, tuple):
        return "a list of strings" if typing.get_args(option)[:1] == (str,) else "a list"
    return None if option is Any or not isinstance(option, type) else f"a ready {option.__name__}"


def _matches(option: Any, value: Any) -> bool:
    """Whether a value is of a type as it is; a number that has to be converted is not."""
    if option is bool:
        return isinstance(value, bool)
    if option in (int, float):
        return type(value) is option and abs(value) < float("inf")
    if option in (str, Path, type(None)):
        return isinstance(value, option)
    origin, of = typing.get_origin(option) or option, typing.get_args(option)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in of)
    if origin in (collections.abc.Mapping, dict):
        return isinstance(value, Mapping)
    if origin in (collections.abc.Sequence, list, tuple):
        listed = isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes)
        kind = of[0] if of and isinstance(of[0], type) and of[0] is not Any else object
        return listed and all(isinstance(one, kind) for one in value)
    # Whether an object meets a contract is for the factory to say; what YAML writes is none.
    return not isinstance(value, str | int | float | list | dict | None)


def _number(value: Any, number: type[int] | type[float]) -> int | float | None:
    """Read a number of another kind, or one that is written as a string; None if it is not one, or not finite."""
    if isinstance(value, bool | None):
        return None
    try:
        as_float = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not abs(as_float) < float("inf") or (isinstance(value, str) and "_" in value):
        return None
    if number is float:
        return as_float
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    return int(as_float) if as_float.is_integer() and not isinstance(value, str) else None
