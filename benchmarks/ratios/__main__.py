"""``python -m benchmarks.ratios [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.output import Bar, bars_as_text, write
from benchmarks.ratios.laws import COVARIATES, LAWS
from benchmarks.ratios.replication import TEST_ROWS, replicate
from benchmarks.ratios.summary import CELL, bars, table, write_plot, write_table
from benchmarks.running import Jobs, parse, replicate_all

DIMENSIONS = (16, 64)


def run(
    out: Path,
    *,
    replications: int = 5,
    sizes: Sequence[int] = (1000, 4000),
    dimensions: Sequence[int] = DIMENSIONS,
    jobs: Jobs = 2,
) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    work = [(law, d, n, seed) for n in sizes[::-1] for d in dimensions for law in LAWS for seed in range(replications)]
    results = replicate_all(replicate, work, jobs, out).sort_values([*CELL, "replication"], ignore_index=True)
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "n": list(sizes),
        "test_rows": TEST_ROWS,
        "dimensions": list(dimensions),
        "covariates": COVARIATES,
        "seeds": f"0 to {replications - 1}",
        "processes": jobs,
    }
    write(out, "ratios", results, found, settings, time.perf_counter() - start)
    write_table(cells, out / "table.md")
    write_plot(results, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("ratios", __doc__, "2 replications, n = 2,000", argv)
    size = {"replications": 2, "sizes": (2000,)} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
