"""``python -m benchmarks.long_fits [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.long_fits.replication import METHODS, replicate
from benchmarks.long_fits.summary import bars, table, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

LENGTHS = (60, 200, 400)
FIRST_SEED = 10
"""Seeds below were looked at while the default was chosen."""


def run(
    out: Path,
    *,
    replications: int = 5,
    lengths: Sequence[int] = LENGTHS,
    methods: Sequence[str] = tuple(METHODS),
    rows: int = 1000,
    jobs: Jobs = 2,
) -> list[Bar]:
    """Fit, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    work = [(length, rows, method, seed) for seed in seeds for length in lengths for method in methods]
    results = replicate_all(replicate, work, jobs, out).sort_values(
        ["length", "method", "replication"], kind="stable", ignore_index=True
    )
    found = bars(results)
    settings = {"replications": replications, "rows": rows, "seeds": f"{seeds[0]} to {seeds[-1]}", "processes": jobs}
    write(out, "long_fits", results, found, settings, time.perf_counter() - start)
    write_table(table(results), out / "table.md")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("long_fits", __doc__, "2 replications of texts of 60 words", argv)
    replications, lengths = (2, LENGTHS[:1]) if arguments.quick else (5, LENGTHS)
    print(bars_as_text(run(arguments.out, replications=replications, lengths=lengths, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
