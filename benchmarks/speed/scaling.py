"""Speed and memory of one step against the length of its texts and their number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.speed.systems import System
from benchmarks.speed.worker import Worker
from benchmarks.speed.workload import make_workload
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
        # A process of its own for each point: the highest resident memory of a process never goes down again.
        with Worker(systems[name], {"even": work}) as worker:
            segment, peak = worker.run("even")
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
