"""``python -m benchmarks.balancing [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.balancing.replication import DRAWS, TEMPLATE_ROWS, replicate
from benchmarks.balancing.sentences import CASES
from benchmarks.balancing.summary import CELL, bars, table, write_plot, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

FIRST_SEED = 5000
"""Seeds below were looked at while the weights were developed."""


def run(out: Path, *, replications: int = 40, cases: Sequence[str] = (*CASES, "template"), jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    work = [(case, seed) for case in cases for seed in seeds]
    results = replicate_all(replicate, work, jobs, out)
    order = {case: i for i, case in enumerate(CASES)}
    results["order"] = results["case"].map(order).fillna(len(order))
    results = results.sort_values(["order", "replication"], kind="stable", ignore_index=True).drop(columns="order")
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "draws": DRAWS,
        "rows of the template world": TEMPLATE_ROWS,
        "processes": jobs,
    }
    write(out, "balancing", results[[*CELL, *results.columns.difference(CELL)]], found, settings,
          time.perf_counter() - start)  # fmt: skip
    write_table(cells, out / "table.md")
    write_plot(results, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("balancing", __doc__, "10 replications", argv)
    size = {"replications": 10} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
