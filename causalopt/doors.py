"""Checks of the arguments of public functions, so that a wrong one is named at once and does not fail deep inside."""

from __future__ import annotations

from collections.abc import Sequence

from causalopt.errors import ConfigError, DataError


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
