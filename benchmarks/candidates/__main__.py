"""``python -m benchmarks.candidates [--quick] [--tables N] --out DIR``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.candidates.replication import FRESH, PROMPTS, replicate
from benchmarks.candidates.summary import bars, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import JOBS, Jobs, read_jobs, replicate_all

FIRST_SEED, DEFAULTS = 1000, 2
"""Seed of the first table, and number of tables on which a run with all defaults is timed."""


def run(out: Path, *, tables: int = 100, defaults: int = DEFAULTS, jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    work = [("default", FIRST_SEED + i) for i in range(min(defaults, tables))]
    work += [("greedy", FIRST_SEED + i) for i in range(tables)]
    results = replicate_all(replicate, work, jobs, out).sort_values(["method", "seed"], ignore_index=True)
    found = bars(results)
    settings = {
        "tables": tables,
        "seeds": f"{FIRST_SEED} to {FIRST_SEED + tables - 1}",
        "tests in a table": PROMPTS,
        "new tests for the true value": FRESH,
        "processes": jobs,
    }
    write(out, "candidates", results, found, settings, time.perf_counter() - start)
    write_table(results, out / "table.md")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.candidates", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 tables, one of them with all defaults")
    parser.add_argument("--tables", type=int, default=100, help="number of tables")
    parser.add_argument("--out", type=Path, required=True, help="where results, summary and table go")
    parser.add_argument("--jobs", type=read_jobs, default=2, help=JOBS)
    asked = parser.parse_args(argv)
    tables, defaults = (4, 1) if asked.quick else (asked.tables, DEFAULTS)
    print(bars_as_text(run(asked.out, tables=tables, defaults=defaults, jobs=asked.jobs)))


if __name__ == "__main__":
    main()
