"""``python -m benchmarks.faults [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.faults.trials import CONFIGURATIONS, PARTS, can_mount, trial
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, markdown, parse, replicate_all

TRIALS = {
    "killed at random": 15,
    "killed at a write": 8,
    "power lost": 8,
    "disk fails": 30,
    "disk is full": 10,
}
"""Of each of the two configurations. A trial meets five to eight faults."""
LEAST = {"killed at random": 200, "killed at a write": 60, "power lost": 60}
"""Faults without which the table would say little."""


def run(out: Path, *, trials: Mapping[str, int] = TRIALS, jobs: Jobs = 2) -> list[Bar]:
    """Try every fault, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    parts = [part for part in PARTS if part != "disk is full" or can_mount()]
    work = [
        (part, name, number, trials[part])
        for part in parts
        for number in range(trials[part])
        for name in CONFIGURATIONS
    ]
    results = replicate_all(trial, work, jobs, out)
    found = bars(results)
    write(out, "faults", results, found, {"trials": dict(trials), "parts": parts}, time.perf_counter() - start)
    (out / "table.md").write_text(table(results), encoding="utf-8")
    return found


def bars(results: pd.DataFrame) -> list[Bar]:
    faults = results.groupby("part")["faults"].sum()
    return [
        Bar.at_most(0, "interrupted runs that the next one does not finish", (~results["finished"]).sum()),
        Bar.at_most(0, "runs that finish with other results", (results["finished"] & ~results["equal"]).sum()),
        Bar.at_most(0, "failures of a disk that are not said in one line", (~results["one line"]).sum()),
        *(Bar.at_least(n, f"faults: {part}", faults[part]) for part, n in LEAST.items() if part in faults),
    ]


def table(results: pd.DataFrame) -> str:
    """One line for each kind of fault and run."""
    grouped = results.groupby(["part", "run"], sort=False)
    counts = grouped[["faults", "one line", "finished", "equal"]].sum().reset_index()
    counts.insert(2, "trials", grouped.size().to_numpy())
    return markdown(counts, dict.fromkeys(counts.columns, ""))


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("faults", __doc__, "one trial of each kind of fault", argv)
    trials = dict.fromkeys(TRIALS, 1) if arguments.quick else TRIALS
    print(bars_as_text(run(arguments.out, trials=trials, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
