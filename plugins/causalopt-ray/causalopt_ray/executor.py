"""Tasks on the machines of a Ray cluster."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayError, WorkerCrashedError

from causalopt.errors import ConfigError, WorkerError
from causalopt.executors.tasks import Finished, Task, cannot_be_sent, last_line

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 8
"""Tasks for each processor that are sent before their results are asked for: enough that no worker waits."""


class RayExecutor:
    """Carries tasks out on Ray (Moritz et al. 2018), which is started here unless there is a cluster to join.

    Parameters
    ----------
    address:
        Of a cluster: ``auto`` for the one that this machine belongs to, or ``ray://HOST:10001``; None starts Ray on
        this machine.
    workers:
        Processors that a Ray started here uses; None for all. A cluster knows its own.
    cpus, gpus:
        What a task occupies. Without a share of a GPU, a task sees none.
    retries:
        How often a task that loses its worker is carried out again.

    Raises
    ------
    ConfigError
        If a setting is out of range, or belongs to a Ray that is started here while there is an address.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = 3,
    ) -> None:
        if address is not None and workers is not None:
            raise ConfigError(f"executor.workers: the cluster at {address} has its own; leave out workers or address")
        for name, value, least in (("workers", workers, 1), ("gpus", gpus, 0), ("retries", retries, 0)):
            if value is not None and value < least:
                raise ConfigError(f"executor.{name} must be at least {least}, not {value}")
        if cpus <= 0:
            raise ConfigError(f"executor.cpus must be above 0, not {cpus}")
        self.address = address
        self.workers = workers
        self.cpus = cpus
        self.gpus = gpus
        self.retries = retries

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Return the results in the order of the items; see `causalopt.executors.Executor`."""
        self._start()
        carry_out = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries)(_carry_out)
        # Stored once: every worker of a machine reads its arrays from the same shared memory.
        task = _sent(ray.put, Task(function))
        ahead = max(1, int(AHEAD * ray.cluster_resources().get("CPU", 1) / self.cpus))
        waiting: deque[Any] = deque()
        done = 0
        for item in items:
            waiting.append(_sent(carry_out.remote, task, item))
            if len(waiting) == ahead:
                yield self._wait(waiting.popleft(), done).result()
                done += 1
        while waiting:
            yield self._wait(waiting.popleft(), done).result()
            done += 1

    def _start(self) -> None:
        if ray.is_initialized():
            return
        try:
            ray.init(
                address=self.address or "local",
                num_cpus=self.workers,
                include_dashboard=None if self.address else False,
                logging_level=logging.WARNING,
                log_to_driver=False,
                # A task is the run itself and no work in the background: Ray's own niceness of 15 lets it starve.
                _system_config=None if self.address else {"worker_niceness": 0},
            )
        except (ConnectionError, RayError) as error:
            where = "on this machine" if self.address is None else f"at {self.address}"
            raise ConfigError(f"executor.address: no Ray {where} ({last_line(error)})") from error

    def _wait(self, reference: Any, number: int) -> Finished[Any]:
        try:
            finished: Finished[Any] = ray.get(reference)
        except (WorkerCrashedError, OutOfMemoryError) as error:
            raise WorkerError(
                f"task {number} lost its worker {self.retries + 1} times ({last_line(error)}): too little memory for "
                "a task? executor.cpus: 2 has half as many on a machine"
            ) from error
        except RayError as error:  # a task itself returns its errors
            raise WorkerError(f"task {number} has no result: {last_line(error)}") from error
        return finished


def _carry_out(task: Task[Item, Result], item: Item) -> Finished[Result]:
    return task(item)


def _sent(send: Callable[..., Any], *values: Any) -> Any:
    try:
        return send(*values)
    except TypeError as error:
        raise cannot_be_sent(error) from None
