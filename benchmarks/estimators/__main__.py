"""``python -m benchmarks.estimators [--quick] --out DIR``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed, parallel_config

from benchmarks.estimators.plots import write_plots
from benchmarks.estimators.replication import DESIGNS, DRAWS_PER_ROW, FOLDS, THETA, replicate, target
from benchmarks.estimators.summary import bars, markdown, ordered, table
from benchmarks.output import Bar, bars_as_text, write
from causalopt.progress import show_progress, track


def run(out: Path, *, replications: int = 1000, sizes: Sequence[int] = (500, 2000, 8000), jobs: int = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars."""
    start = time.perf_counter()
    # The largest samples first, so that the processes end together.
    work = [
        (design, n, seed) for n in sorted(sizes, reverse=True) for design in DESIGNS for seed in range(replications)
    ]
    with show_progress(), parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        done = Parallel(return_as="generator_unordered")(delayed(replicate)(*cell) for cell in work)
        rows = [row for part in track(done, "replications", total=len(work)) for row in part]
    results = ordered(pd.DataFrame(rows))
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 replications, n = 500 and 2,000: noisy coverage")
    parser.add_argument("--out", type=Path, required=True, help="where results, summary, table and plots go")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    arguments = parser.parse_args(argv)
    size = {"replications": 200, "sizes": (500, 2000)} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
