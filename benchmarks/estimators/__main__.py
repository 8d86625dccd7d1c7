"""``python -m benchmarks.estimators [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.estimators.plots import write_plots
from benchmarks.estimators.replication import DESIGNS, DRAWS_PER_ROW, FOLDS, THETA, replicate, target
from benchmarks.estimators.summary import bars, markdown, ordered, table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all


def run(out: Path, *, replications: int = 1000, sizes: Sequence[int] = (500, 2000, 8000), jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    # The largest samples first, so that the processes end together.
    work = [
        (design, n, seed) for n in sorted(sizes, reverse=True) for design in DESIGNS for seed in range(replications)
    ]
    results = ordered(replicate_all(replicate, work, jobs, out))
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "n": list(sizes),
        "seeds": f"0 to {replications - 1}",
        "processes": jobs,
        "folds": FOLDS,
        "draws_per_row": DRAWS_PER_ROW,
        "policy": THETA,
        "worlds": {design: target(design).world.describe() for design in DESIGNS},
        "truth": {design: target(design).truth for design in DESIGNS},
    }
    write(out, "estimators", results, found, settings, time.perf_counter() - start)
    (out / "table.md").write_text(markdown(cells), encoding="utf-8")
    write_plots(cells, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    quick = "200 replications, n = 500 and 2,000: noisy coverage"
    arguments = parse("estimators", __doc__, quick, argv)
    size = {"replications": 200, "sizes": (500, 2000)} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
