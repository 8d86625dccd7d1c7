"""``python -m benchmarks.clusters [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clusters import survey
from benchmarks.clusters.replication import DESIGNS, DRAWS, FOLDS, replicate
from benchmarks.clusters.summary import bars, table, write_plot, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all


def run(out: Path, *, replications: int = 1000, jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    work = [(design, model, seed) for design in DESIGNS for model in ("right", "wrong") for seed in range(replications)]
    results = replicate_all(replicate, work, jobs, out)
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "seeds": f"0 to {replications - 1}",
        "processes": jobs,
        "folds": FOLDS,
        "draws": DRAWS,
        "texts": survey.TEXTS,
        "readers": survey.READERS,
        "ratings": {"of a text": survey.RATINGS_OF_TEXT, "of a reader": survey.RATINGS_OF_READER},
        "correlation": DESIGNS,
        "truth": survey.truth(),
    }
    write(out, "clusters", results, found, settings, time.perf_counter() - start)
    write_table(cells, out / "table.md")
    write_plot(cells, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("clusters", __doc__, "200 replications: noisy coverage", argv)
    print(bars_as_text(run(arguments.out, replications=200 if arguments.quick else 1000, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
