"""``python -m benchmarks.constraints [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.constraints.replication import BOUNDS, CHOOSE, KL, TRAIN, replicate
from benchmarks.constraints.summary import bars, table, write_plot, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

FIRST_SEED = 60_000
"""Seeds below it were used in development."""
WITHOUT_PENALTY = 5
"""One in so many runs is repeated without penalised fits."""


def run(out: Path, *, replications: int = 60, jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    work = [(cell, True, seed) for cell in BOUNDS for seed in seeds]
    work += [("conflict", False, seed) for seed in seeds[::WITHOUT_PENALTY]]
    results = replicate_all(replicate, work, jobs, out)
    found = bars(results)
    settings = {
        "replications": replications,
        "replications without penalised fits": len(seeds[::WITHOUT_PENALTY]),
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "processes": jobs,
        "training rows": TRAIN,
        "rows that choose": CHOOSE,
        "largest KL, nats": KL,
        "bounds": BOUNDS,
    }
    write(out, "constraints", results, found, settings, time.perf_counter() - start)
    write_table(table(results), out / "table.md")
    write_plot(results, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("constraints", __doc__, "20 replications: noisy shares", argv)
    print(bars_as_text(run(arguments.out, replications=20 if arguments.quick else 60, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
