"""The interface of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTOR = ("map",)
"""Members of an executor."""


@runtime_checkable
class Executor(Protocol):
    """Applies a function to items, somewhere; the results do not depend on where.

    Everything that a result depends on is in the function and in the item, seeds included: a worker draws nothing. So
    a task that lost its worker can be carried out again, and gives the same result.
    """

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Return ``function(item)`` of each item, in the order of the items.

        Parameters
        ----------
        function, items:
            Both must pickle, and so must the results, unless everything happens in this process.

        Raises
        ------
        Exception
            The error of a task, as itself: the same class and the same message. No task is repeated for it.
        WorkerError
            If tasks lose their workers more often than the executor's retries.
        ConfigError
            If function, item or result cannot be sent.

        Warns
        -----
        Warning
            Those of the tasks, in the order of the items. `causalopt.executors.tasks.Task` carries them, and errors.
        """
        ...
