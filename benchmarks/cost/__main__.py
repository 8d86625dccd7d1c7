"""``python -m benchmarks.cost [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.express as px

from benchmarks.cost.measure import measure
from benchmarks.cost.systems import COVARIATES, DIMENSIONS, FOLDS, RATINGS, SYSTEMS
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import markdown, parse
from causalopt.progress import show_progress, track

OURS, SAME = "causalopt", "causalopt, same learners"


def run(
    out: Path,
    *,
    sizes: Sequence[int] = (5000, 15_000, 50_000),
    rounds: int = 3,
    systems: Sequence[str] = tuple(SYSTEMS),
) -> list[Bar]:
    """Measure round by round, every system in each, and leave results, summary, table and plot."""
    start = time.perf_counter()
    work = [(r, n, system) for r in range(rounds) for n in sizes for system in systems]
    with show_progress():
        rows = [
            {"round": r, "n": n, "system": system, **measure(system, n, r)}
            for r, n, system in track(work, "measurements", total=len(work))
        ]
    results = pd.DataFrame(rows)
    cells = table(results)
    found = bars(results)
    settings = {
        "sizes": list(sizes),
        "rounds": rounds,
        "dimensions": DIMENSIONS,
        "covariates": COVARIATES,
        "ratings_of_a_text": RATINGS,
        "folds": FOLDS,
        "threads": 1,
    }
    write(out, "cost", results, found, settings, time.perf_counter() - start)
    formats = {"n": ",", "system": "", "seconds": ".2f", "processor_seconds": ".2f", "peak_mib": ".0f", "ratio": ".2f"}
    (out / "table.md").write_text(markdown(cells, formats), encoding="utf-8")
    figure = px.line(cells, x="n", y="processor_seconds", color="system", markers=True, log_x=True, log_y=True)
    figure.write_html(out / "plots.html")
    return found


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Medians over the rounds; ``ratio`` is the median of our processor seconds (same learners) over the system's."""
    ours = results[results["system"] == SAME].set_index(["round", "n"])["processor_seconds"]
    key = pd.MultiIndex.from_frame(results[["round", "n"]])
    ratio = ours.reindex(key).to_numpy() / results["processor_seconds"].to_numpy()
    measures = ["seconds", "processor_seconds", "peak_mib", "ratio"]
    return results.assign(ratio=ratio).groupby(["n", "system"], sort=False)[measures].median().reset_index()


def bars(results: pd.DataFrame) -> list[Bar]:
    """Growth from the smallest to the largest sample, and the ratios at the largest."""
    cells = table(results)
    found = []
    for system in (OURS, SAME):
        own = cells[cells["system"] == system]
        slope = np.polyfit(np.log(own["n"]), np.log(own["processor_seconds"]), 1)[0]
        found.append(Bar.at_most(1.1, f"slope of log seconds in log n, {system}", slope))
    largest = cells[cells["n"] == cells["n"].max()].set_index("system")
    for system in largest.index:
        if system not in (OURS, SAME):
            found.append(Bar.at_most(2.0, f"seconds over those of {system}, same learners", largest["ratio"][system]))
    found.append(Bar.at_most(2048, "peak MiB at the largest n, default models", largest["peak_mib"][OURS]))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("cost", __doc__, "5,000 and 10,000 rows, one round", argv)
    size = {"sizes": (5000, 10_000), "rounds": 1} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, **size)))


if __name__ == "__main__":
    main()
