"""Checks of the arguments of public functions, so that a wrong one is named at once and does not fail deep inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from causalopt.errors import ConfigError, DataError, OutputError
from causalopt.output import impossible
from causalopt.signatures import MOST_SEED, shown


def check_type(what: str, value: object, types: tuple[type, ...], wanted: str) -> None:
    """Raise `DataError` unless ``value`` is of one of the types; ``wanted`` describes the expected value in words.

    Examples
    --------
    >>> from causalopt.doors import check_type
    >>> check_type("evaluate: data", "survey.csv", (list,), "a DirectOutcomeDataset")
    Traceback (most recent call last):
        ...
    causalopt.errors.DataError: evaluate: data must be a DirectOutcomeDataset, not 'survey.csv'
    """
    if not isinstance(value, types):
        shown = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        raise DataError(f"{what} must be {wanted}, not {shown}")


def check_contract(what: str, value: object, members: Sequence[str], wanted: str) -> None:
    """Raise `ConfigError` unless ``value`` has all members of a contract.

    Examples
    --------
    >>> from causalopt.doors import check_contract
    >>> check_contract("backend", 3, ["reference", "fit"], "a backend")
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: backend must be a backend, and int has no 'reference', 'fit'
    """
    if isinstance(value, type):
        raise ConfigError(f"{what} must be {wanted}, and {value.__name__} is a class: make an instance of it")
    missing = [repr(member) for member in members if not hasattr(value, member)]
    if missing:
        raise ConfigError(f"{what} must be {wanted}, and {type(value).__name__} has no {', '.join(missing)}")


def check_number(
    what: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Raise `ConfigError` unless ``value`` is a finite number (a ``whole`` one) in the range; a boolean is none.

    Examples
    --------
    >>> from causalopt.doors import check_number
    >>> check_number("backend.l2", 0.5, least=0)
    >>> check_number("backend.l2", "high", least=0)
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: backend.l2 must be a number of at least 0, not 'high'
    """
    good = is_number(value, whole=whole)
    if good:
        number = as_float(value)
        good = (
            math.isfinite(number)
            and (least is None or number >= least)
            and (above is None or number > above)
            and (most is None or number <= most)
            and (below is None or number < below)
        )
    if not good:
        bounds = ((least, "at least"), (above, "above"), (most, "at most"), (below, "below"))
        limits = " and ".join(f"{word} {_plain(bound)}" for bound, word in bounds if bound is not None)
        of = "of " if limits.startswith("at") else ""
        kind = f"{'whole ' if whole else ''}number{' ' if limits else ''}{of}{limits}"
        raise ConfigError(f"{what} must be a {kind}, not {shown(value)}")


def _plain(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) and abs(bound) < 1e12 else f"{bound:g}"


def check_seed(what: str, value: object) -> None:
    """Raise `ConfigError` unless ``value`` is a seed that every library takes: a whole number from 0 to 2**32 - 1."""
    if not (is_number(value, whole=True) and 0 <= as_float(value) <= MOST_SEED):
        raise ConfigError(f"{what} must be a whole number from 0 to {MOST_SEED}, not {shown(value)}")


def check_choice(what: str, value: object, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless ``value`` is one of some names.

    Examples
    --------
    >>> from causalopt.doors import check_choice
    >>> check_choice("on_missing", "skip", ["drop", "error", "model"])
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: on_missing must be 'drop', 'error' or 'model', not 'skip'
    """
    if not (isinstance(value, str) and value in choices):
        *others, last = map(repr, choices)
        raise ConfigError(f"{what} must be {', '.join(others)} or {last}, not {shown(value)}")


def check_strings(what: str, value: object, wanted: str) -> None:
    """Raise `ConfigError` unless ``value`` is a sequence of strings; a string is none. ``wanted`` says of what."""
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not (listed and all(isinstance(one, str) for one in value)):  # type: ignore[attr-defined]
        raise ConfigError(f"{what} must be a list of {wanted}, not {shown(value)}")
    for one in value:  # type: ignore[attr-defined]
        if is_broken(one):
            raise ConfigError(f"{what}: {shown(one)} holds half of a character (a lone surrogate)")


def as_texts(what: str, value: Any) -> list[str]:
    """Return a sequence of strings (a list, an array, a column) as a list, or raise `DataError`; a string is none.

    Examples
    --------
    >>> from causalopt.doors import as_texts
    >>> as_texts("texts", ("a", "b"))
    ['a', 'b']
    >>> as_texts("texts", "a")
    Traceback (most recent call last):
        ...
    causalopt.errors.DataError: texts must be a list of strings, not 'a'
    """
    listed = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(listed, Sequence) or isinstance(listed, str | bytes):
        raise DataError(f"{what} must be a list of strings, not {shown(value)}")
    wrong = next((place for place, one in enumerate(listed) if not isinstance(one, str)), None)
    if wrong is not None:
        raise DataError(f"{what}[{wrong}] must be a string, not {shown(listed[wrong])}")
    broken = next((place for place, one in enumerate(listed) if is_broken(one)), None)
    if broken is not None:
        raise DataError(f"{what}[{broken}] holds half of a character (a lone surrogate)")
    return list(listed)


def as_path(what: str, value: object) -> Path:
    """Return a path, or raise `OutputError` if ``value`` is none, or no file or folder can have the name."""
    if not isinstance(value, str | Path):
        raise OutputError(f"{what} must be a path, not {shown(value)}")
    reason = impossible(value)
    if reason is not None:
        raise OutputError(f"{what}: {shown(str(value))}: {reason}")
    return Path(value)


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a value is a number of Python or numpy (a ``whole`` one), finite or not; a boolean is none.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.doors import is_number
    >>> is_number(np.float64(0.5)), is_number(0.5, whole=True), is_number(True), is_number("0.5")
    (True, False, False, False)
    """
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool)


def is_broken(text: str) -> bool:
    """Whether a string holds a lone surrogate, which no file and no library takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def as_float(value: Any) -> float:
    """Return a number as a float; one that no float holds is infinite."""
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf
