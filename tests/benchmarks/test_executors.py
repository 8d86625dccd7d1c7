"""The cost of executors: ratios within a round, and a small job in a process of its own."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from benchmarks.executors.__main__ import bars, table
from benchmarks.executors.job import job

RESULTS = pd.DataFrame(
    [
        {"round": number, "executor": name, "cpu": factor * cpu, "wall": factor * wall, "digest": "same"}
        for number, factor in ((0, 1.0), (1, 3.0))  # the machine is three times as slow in the second round
        for name, cpu, wall in (("one process", 100, 100), ("two processes", 110, 60), ("ray, two workers", 125, 66))
    ]
)


def test_a_slow_round_does_not_count() -> None:
    found = {bar.name: (bar.value, bar.holds) for bar in bars(RESULTS)}
    assert found == {
        "different results of the executors": (1, True),
        "CPU time of two processes over one process": (pytest.approx(1.1), True),
        "CPU time of ray, two workers over one process": (pytest.approx(1.25), False),
        "wall time of ray, two workers over two processes": (pytest.approx(1.1), True),
    }
    assert "| two processes | 220.0 | 120.0 | 1.10 |" in table(RESULTS)


def test_other_results_are_noticed() -> None:
    other = RESULTS.assign(digest=["a"] * 5 + ["b"])
    assert not bars(other)[0].holds


@pytest.mark.slow
def test_the_job_counts_the_time_of_its_workers() -> None:
    one = job("one process", rows=300, repeats=2)
    before = time.process_time()
    two = job("two processes", rows=300, repeats=2)
    own = time.process_time() - before
    assert one["digest"] == two["digest"]
    assert two["cpu"] > own, "this process alone has taken less than it and its workers"
