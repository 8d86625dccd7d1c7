"""A process for each system, so that the memory which one keeps or frees does not reach the time of another."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
from collections.abc import Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

import psutil
import torch

from benchmarks.speed.clock import Segment
from benchmarks.speed.systems import ON_GPU, System
from benchmarks.speed.workload import Workload


class Worker:
    """A process that runs one system whenever it is asked, and nothing else.

    It is forked, and so shares the model's weights with its parent, which must have no running threads then. On a GPU
    there is no fork after the first use, so the system runs in the parent.

    Parameters
    ----------
    system:
        What is run.
    works:
        On what, by name.

    Raises
    ------
    RuntimeError
        When the process ends without a result.
    """

    def __init__(self, system: System, works: Mapping[str, Workload]) -> None:
        self._system, self._works = system, works
        if ON_GPU:
            return
        gc.collect()
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(system, works, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that a process that dies ends the wait

    def run(self, name: str) -> tuple[Segment, int]:
        """Return what it did, and its highest memory so far above what it began with, in bytes."""
        if ON_GPU:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            return self._system(self._works[name]), torch.cuda.max_memory_allocated() - before
        self._pipe.send(name)
        try:
            found: tuple[Segment, int] = self._pipe.recv()
        except EOFError:
            raise RuntimeError("a measurement ended without a result; its error is above") from None
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not ON_GPU:
            self._process.terminate()
            self._process.join()
            self._pipe.close()


def _serve(system: System, works: Mapping[str, Workload], pipe: Connection) -> None:
    torch.set_num_threads(1)  # threads of the parent are not in a fork, which would wait for them
    before, parent = psutil.Process().memory_info().rss, os.getppid()
    while os.getppid() == parent:  # a benchmark that was killed leaves no process behind
        if pipe.poll(timeout=1.0):
            segment = system(works[pipe.recv()])
            pipe.send((segment, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))
