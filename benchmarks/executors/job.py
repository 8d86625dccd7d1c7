"""A job of some tasks on one executor, in a process of its own: what it found and what it cost."""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from typing import Any

import psutil

import causalopt as co
from causalopt.simulation import TemplateWorld

EXECUTORS: dict[str, dict[str, Any]] = {
    "one process": {"name": "local"},
    "two processes": {"name": "local", "processes": 2},
    "ray, two workers": {"name": "ray", "workers": 2},
}


def job(executor: str, rows: int, repeats: int) -> dict[str, Any]:
    """Cross-fit nuisances with repeats; CPU seconds are those of this process and of all that it has started."""
    data = TemplateWorld().sample(rows, seed=0)
    before, start = _cpu_seconds(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pseudo = co.PseudoOutcomeEstimator(repeats=repeats, executor=EXECUTORS[executor]).fit_transform(data)
    wall, cpu = time.perf_counter() - start, _cpu_seconds() - before
    numbers = pseudo.to_frame().to_numpy().tobytes() + pseudo.dose_response(data.texts[:100]).tobytes()
    return {"wall": wall, "cpu": cpu, "digest": hashlib.sha256(numbers).hexdigest()}


def _cpu_seconds() -> float:
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # user and system, with those of children that have ended
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    print(json.dumps(job(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
