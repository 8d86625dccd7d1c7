"""A function on its way to a worker, and what comes back: a value or an error, and the warnings."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from causalopt import plugins
from causalopt.errors import CausalOptWarning, ConfigError, WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

Message = tuple[Warning | str, type[Warning], str, int]


@dataclass(frozen=True)
class Finished(Generic[Result]):
    """What a task left: a value, or an error, and its warnings with their places."""

    value: Result | None
    error: Exception | None
    warned: tuple[Message, ...]

    def result(self) -> Result:
        """Issue the warnings again, under the filters of this process, then return the value or raise the error."""
        for message, category, file, line in self.warned:
            warnings.warn_explicit(message, category, file, line)
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # there is no error, so that this is the value, even if None


class Task(Generic[Item, Result]):
    """A function as executors send it to workers: it returns what happened, and never raises.

    Parts that are registered in code go with it, so that a worker knows them by name.

    Examples
    --------
    >>> from causalopt.executors.tasks import Task
    >>> Task(abs)(-3).result()
    3
    """

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function = function
        self._parts = plugins.registered_in_code()

    def __call__(self, item: Item) -> Finished[Result]:
        """Apply the function to an item."""
        plugins.register_in_code(self._parts)
        value: Result | None = None
        failure: Exception | None = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            warnings.simplefilter("always", CausalOptWarning)
            try:
                value = self._function(item)
            except Exception as error:
                failure = _sendable(error)
        return Finished(value, failure, tuple((one.message, one.category, one.filename, one.lineno) for one in caught))


def cannot_be_sent(error: BaseException) -> ConfigError:
    """Return the error for a function, item or result that does not pickle."""
    return ConfigError(
        f"a task cannot be sent to another process ({last_line(error.__cause__ or error)}): use what can be pickled, "
        "or executor: {name: local, processes: 1}"
    )


def last_line(error: BaseException) -> str:
    r"""Return the last line that says something, which is the error itself if the text is a traceback.

    Examples
    --------
    >>> from causalopt.executors.tasks import last_line
    >>> last_line(RuntimeError("Traceback:\n  ...\nValueError: no rows\n"))
    'ValueError: no rows'
    """
    lines = [line for line in map(str.strip, str(error).splitlines()) if line.strip('"')]
    return lines[-1][:200] if lines else type(error).__name__


def _sendable(error: Exception) -> Exception:
    """Return the error with the worker's traceback as a note; one that does not pickle is described in words."""
    lines = "".join(traceback.format_exception(error))
    error.__cause__ = error.__context__ = error.__traceback__ = None
    try:
        same: Any = pickle.loads(pickle.dumps(error))
    except Exception:
        same = None
    if type(same) is not type(error) or str(same) != str(error):
        error = WorkerError(f"a task failed: {type(error).__name__}: {' '.join(str(error).split())}")
    error.add_note(f"In a worker:\n{lines}")
    return error
