"""``python -m benchmarks.executors [--quick] --out DIR``: one job on each executor, in turn, round after round."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.executors.job import EXECUTORS
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import markdown
from causalopt import plugins

MOST = 1.2
"""Largest ratio to pass: an overhead of 20%."""


def run(out: Path, *, rounds: int = 2, rows: int = 16_000, repeats: int = 12) -> list[Bar]:
    """Run the job on every executor that is installed, write results, summary and table, and return the bars."""
    start = time.perf_counter()
    systems = [name for name, executor in EXECUTORS.items() if executor["name"] in plugins.executors.names()]
    records = []
    for number in range(rounds):
        for system in systems:
            command = [sys.executable, "-m", "benchmarks.executors.job", system, str(rows), str(repeats)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            records.append({"round": number, "executor": system, **json.loads(done.stdout.splitlines()[-1])})
            print(records[-1], flush=True)
    results = pd.DataFrame(records)
    found = bars(results)
    settings = {
        "rounds": rounds,
        "rows": rows,
        "repeats": repeats,
        "executors": {name: EXECUTORS[name] for name in systems},
    }
    write(out, "executors", results, found, settings, time.perf_counter() - start)
    (out / "table.md").write_text(table(results), encoding="utf-8")
    return found


def ratios(results: pd.DataFrame, measure: str, over: str) -> pd.DataFrame:
    """Return the ratios of each round to the executor ``over``, a column for each executor."""
    by_round = results.pivot_table(index="round", columns="executor", values=measure)
    return by_round.div(by_round[over], axis=0)


def bars(results: pd.DataFrame) -> list[Bar]:
    """Results are equal, and an executor costs at most a fifth more: CPU time over one process, wall time over two."""
    found = [Bar.at_most(1, "different results of the executors", results["digest"].nunique())]
    for name in results["executor"].unique():
        if name != "one process":
            cpu = ratios(results, "cpu", "one process")[name].median()
            found.append(Bar.at_most(MOST, f"CPU time of {name} over one process", cpu))
        if name.startswith("ray"):
            wall = ratios(results, "wall", "two processes")[name].median()
            found.append(Bar.at_most(MOST, f"wall time of {name} over two processes", wall))
    return found


def table(results: pd.DataFrame) -> str:
    """One line an executor: medians over the rounds, and of the ratios within a round."""
    frame = results.groupby("executor", sort=False)[["cpu", "wall"]].median().reset_index()
    for measure in ("cpu", "wall"):
        by_round = ratios(results, measure, "one process")
        frame[f"{measure} over one process"] = [by_round[name].median() for name in frame["executor"]]
        frame[f"{measure}, least"] = [by_round[name].min() for name in frame["executor"]]
        frame[f"{measure}, greatest"] = [by_round[name].max() for name in frame["executor"]]
    return markdown(
        frame, {"executor": "", **dict.fromkeys(frame.columns[1:3], ".1f"), **dict.fromkeys(frame.columns[3:], ".2f")}
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a small job: start-up dominates")
    parser.add_argument("--out", type=Path, required=True, help="where results, summary and table go")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args(argv)
    if asked.quick:
        print(bars_as_text(run(asked.out, rounds=1, rows=2000, repeats=3)))
    else:
        print(bars_as_text(run(asked.out, rounds=asked.rounds)))


if __name__ == "__main__":
    main()
