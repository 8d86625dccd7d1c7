"""Tasks on this machine: in this process, or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from causalopt.doors import check_number
from causalopt.errors import WorkerError
from causalopt.executors.tasks import Finished, Task, cannot_be_sent
from causalopt.signatures import LARGEST_COUNT

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalExecutor:
    """Carries tasks out in this process, or in several (joblib's), each with one thread.

    Parameters
    ----------
    processes:
        With 1 nothing is pickled: a task is an ordinary call.
    retries:
        How many times lost processes (killed, out of memory) are replaced; what they had not returned is done again.

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Examples
    --------
    >>> from causalopt.executors import LocalExecutor
    >>> list(LocalExecutor().map(abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    def __init__(self, processes: int = 1, retries: int = 3) -> None:
        for name, value, least in (("processes", processes, 1), ("retries", retries, 0)):
            check_number(f"executor.{name}", value, least=least, most=LARGEST_COUNT, whole=True)
        self.processes = processes
        self.retries = retries

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Return the results in the order of the items; see `causalopt.executors.contracts.Executor`."""
        if self.processes == 1:
            return map(function, items)
        return self._in_processes(Task(function), list(items))

    def _in_processes(self, task: Task[Item, Result], items: list[Item]) -> Iterator[Result]:
        done, lost = 0, 0
        started = self._started(task, items)
        while done < len(items):
            try:
                finished = next(started)
            except TerminatedWorkerError as error:
                lost += 1
                if lost > self.retries:
                    raise WorkerError(
                        f"worker processes ended {lost} times while task {done} was waited for: too little memory for "
                        f"{self.processes} of them? executor.processes: 1 needs the least"
                    ) from error
                started = self._started(task, items[done:])
                continue
            done += 1
            yield finished.result()

    def _started(self, task: Task[Item, Result], items: list[Item]) -> Iterator[Finished[Result]]:
        # Large arrays reach the workers as files that are mapped into memory: "c" lets a task write to its own copy.
        with parallel_config("loky", n_jobs=self.processes, inner_max_num_threads=1, mmap_mode="c"):
            results = Parallel(return_as="generator")(delayed(task)(item) for item in items)
        try:
            yield from results
        except TerminatedWorkerError:
            raise
        except Exception as error:  # a task itself returns its errors
            raise cannot_be_sent(error) from None


IN_PROCESS = LocalExecutor()
"""For what must stay in this process."""
