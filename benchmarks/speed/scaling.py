"""Speed and memory of one step against the length of its texts and their number."""

from __future__ import annotations

import gc
import multiprocessing
import resource
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

from benchmarks.speed.clock import Segment
from benchmarks.speed.systems import ON_GPU, System
from benchmarks.speed.workload import Workload, make_workload
from causalopt.backends.huggingface import HuggingFacePolicy

Point = tuple[int, int]
"""Tokens of each text, and rows of a step."""


def scaling(
    reference: HuggingFacePolicy, systems: dict[str, System], points: Iterable[Point], steps: int
) -> list[dict[str, Any]]:
    """One row for each system at each point: its speed, and its peak memory above what the model takes."""
    rows = []
    cells = [(name, *point) for point in points for name in systems]
    for name, length, batch in cells:
        work = make_workload(reference, rows_per_step=batch, steps=steps, length=length)
        segment, peak = _measure(systems[name], work)
        rows.append(
            {
                "system": name,
                "length": length,
                "rows": batch,
                "tokens_per_second": segment.tokens / segment.seconds,
                "peak_mebibytes": peak / 2**20,
            }
        )
    return rows


def _measure(system: System, work: Workload) -> tuple[Segment, int]:
    if ON_GPU:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return system(work), torch.cuda.max_memory_allocated() - before
    # A process of its own for each point: the highest resident memory of a process never goes down again.
    gc.collect()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(system, work, sender))
    child.start()
    sender.close()  # so that a child that dies ends the wait
    try:
        segment, peak = receiver.recv()
    except EOFError:
        raise RuntimeError("a measurement ended without a result; its error is above") from None
    finally:
        child.join()
    return segment, peak


def _in_child(system: System, work: Workload, sender: Connection) -> None:
    torch.set_num_threads(1)  # the threads of the parent are not in a fork, which would wait for them
    before = psutil.Process().memory_info().rss
    segment = system(work)
    sender.send((segment, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))
