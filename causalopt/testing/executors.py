"""Checks of executors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np

from causalopt.errors import CausalOptError, CausalOptWarning, DataError
from causalopt.executors import Executor
from causalopt.typing import Float64


def check_executor(make: Callable[[], Executor], *, lost_workers: bool = True) -> None:
    """Check an executor against its contract (`causalopt.executors.Executor`).

    The check covers order, results to the last bit, errors and warnings, what cannot be sent, and a worker that ends in
    the middle of a task.

    Parameters
    ----------
    make:
        Called without arguments, it returns an executor.
    lost_workers:
        Whether tasks have workers of their own; without them nothing is pickled, and no worker can be lost.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.executors import LocalExecutor
    >>> from causalopt.testing import check_executor
    >>> check_executor(LocalExecutor, lost_workers=False)
    """
    executor = make()
    name = type(executor).__name__
    assert isinstance(executor, Executor), f"{name} lacks map"
    assert list(executor.map(_size, [])) == [], f"{name}.map returns results for no items"
    items = list(range(20))
    assert list(executor.map(_size, iter(items))) == items, f"{name}.map does not keep the order of the items"
    seeds = range(4)
    here, there = [_moments(seed) for seed in seeds], list(executor.map(_moments, seeds))
    same = all(one.tobytes() == other.tobytes() for one, other in zip(here, there, strict=True))
    assert same, (
        f"{name}: results differ in their last bits; do workers have these libraries and this kind of processor?"
    )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(executor.map(_warn, [0, 1]))
    told = [str(one.message) for one in caught if issubclass(one.category, CausalOptWarning)]
    assert told == ["task 0 warns", "task 1 warns"], f"{name}: warnings of tasks arrive as {told}"

    error = _error_of(executor, _fail)
    assert type(error) is DataError, f"{name}: the DataError of a task arrives as {error!r}"
    assert str(error) == "task 2 fails", f"{name}: the message of a task's error arrives as {str(error)!r}"
    if not lost_workers:
        return

    error = _error_of(executor, partial(_given, Lock()))  # a lock does not pickle
    assert isinstance(error, CausalOptError), f"{name}: a function that cannot be sent gives {error!r}"
    assert "\n" not in str(error), f"{name}: the error of a function that cannot be sent has several lines"
    with TemporaryDirectory() as folder:
        results = list(executor.map(partial(_end_once, folder), items))
        assert (Path(folder) / "ended").exists(), f"{name}: tasks have no workers of their own"
    assert results == items, f"{name}: when a worker ends, the results are {results}"


def _error_of(executor: Executor, function: Callable[[int], Any]) -> Exception | None:
    try:
        list(executor.map(function, range(4)))
    except Exception as error:
        return error
    return None


def _size(item: int) -> int:
    return abs(item)


def _moments(seed: int) -> Float64:
    x = np.random.default_rng(seed).normal(size=(200, 30))
    return np.linalg.solve(x.T @ x, x.sum(axis=0))


def _warn(item: int) -> None:
    warnings.warn(f"task {item} warns", CausalOptWarning, stacklevel=1)


def _fail(item: int) -> int:
    if item >= 2:
        raise DataError(f"task {item} fails")
    return item


def _given(_: object, item: int) -> int:
    return item


def _end_once(folder: str, item: int) -> int:
    """End the worker at the first try of item 7, without a word, as one that was killed."""
    mark = Path(folder) / "ended"
    if item == 7 and not mark.exists():
        mark.write_text(str(os.getpid()), encoding="utf-8")
        os._exit(9)
    return item
