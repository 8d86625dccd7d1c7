"""``python -m benchmarks.bandits [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bandits.bandit import BATCH, CASES
from benchmarks.bandits.replication import OUTCOME_MODEL, replicate
from benchmarks.bandits.summary import CELL, bars, table, write_plot, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

FIRST_SEED = 6000
"""Seeds below were looked at while the estimator was developed."""
SIZES = (400, 2000)


def run(
    out: Path,
    *,
    replications: int = 200,
    cases: Sequence[str] = tuple(CASES),
    sizes: Sequence[int] = SIZES,
    jobs: Jobs = 2,
) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    work = [(case, rows, seed) for seed in seeds for case in cases for rows in sizes]
    results = replicate_all(replicate, work, jobs, out)
    order = {case: i for i, case in enumerate(CASES)}
    results["order"] = results["case"].map(order)
    results = results.sort_values(["order", "rows", "replication"], kind="stable", ignore_index=True)
    results = results.drop(columns="order")
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "rows": list(sizes),
        "rows between updates": BATCH,
        "outcome model": OUTCOME_MODEL,
        "processes": jobs,
    }
    write(out, "bandits", results[[*CELL, *results.columns.difference(CELL)]], found, settings,
          time.perf_counter() - start)  # fmt: skip
    write_table(cells, out / "table.md")
    write_plot(results, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("bandits", __doc__, "20 replications", argv)
    size = {"replications": 20} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
