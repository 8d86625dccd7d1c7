"""``python -m benchmarks.long_texts [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.long_texts.language import models, true_value
from benchmarks.long_texts.replication import effective_sizes, replicate
from benchmarks.long_texts.summary import CELL, bars, gives_out, table, write_plots, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

LENGTHS = (20, 60, 200)


def run(
    out: Path,
    *,
    replications: int = 200,
    lengths: Sequence[int] = LENGTHS,
    n: int = 2000,
    true_texts: int = 1_000_000,
    jobs: Jobs = 2,
) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    truth = {length: true_value(models()[1], length, true_texts, seed=0) for length in lengths}
    work = [(length, n, truth[length][0], seed) for length in sorted(lengths)[::-1] for seed in range(replications)]
    results = replicate_all(replicate, work, jobs, out).sort_values(["length", "replication"], kind="stable")
    cells = table(results)
    sizes = np.median([effective_sizes(max(lengths), n, seed) for seed in range(min(replications, 50))], axis=0)
    found = bars(cells)
    settings = {
        "replications": replications,
        "n": n,
        "seeds": f"0 to {replications - 1}",
        "processes": jobs,
        "texts behind the truth": true_texts,
        "truth": {str(length): {"value": value, "se": se} for length, (value, se) in truth.items()},
        "tokens at which the sequence ratio gives out": gives_out(sizes, n),
    }
    write(out, "long_texts", results[[*CELL, *results.columns.difference(CELL)]], found, settings,
          time.perf_counter() - start)  # fmt: skip
    write_table(cells, out / "table.md")
    write_plots(cells, sizes, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("long_texts", __doc__, "40 replications, and 100,000 texts behind the truth", argv)
    size = {"replications": 40, "true_texts": 100_000} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
