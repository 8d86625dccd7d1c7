"""``python -m benchmarks.coverage [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.coverage.generators import GENERATORS
from benchmarks.coverage.replication import DRAWS, HEADLINE, KL, replicate
from benchmarks.coverage.summary import bars, table, write_plot, write_table
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, parse, replicate_all

FIRST_SEED = 20_000
"""Seeds below were looked at while the estimators were developed."""
WRITTEN_TABLES = 60
"""Largest number of tables on which a language model is tuned."""


def run(
    out: Path, *, replications: int = 200, generators: Sequence[str] = tuple(GENERATORS), jobs: Jobs = 2
) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json``, ``table.md`` and ``plots.html``, and return the bars.

    Tables that ``out/results.parquet`` holds already, of fewer replications or of another machine, are not computed
    again.
    """
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    # A language model takes a minute: 60 tables of each of its generators.
    work = [
        (name, seed)
        for seed in seeds
        for name in generators
        if GENERATORS[name].population != "written" or seed < FIRST_SEED + WRITTEN_TABLES
    ]
    kept = out / "results.parquet"
    known = pd.read_parquet(kept) if kept.exists() else pd.DataFrame(columns=["generator", "replication"])
    cells = pd.MultiIndex.from_tuples(work, names=["generator", "replication"])
    known = known[pd.MultiIndex.from_frame(known[cells.names]).isin(cells)]
    done = set(zip(known["generator"], known["replication"], strict=True))
    new = replicate_all(replicate, [cell for cell in work if cell not in done], jobs, out)
    results = pd.concat([part for part in (known, new) if len(part)], ignore_index=True)
    order = {name: i for i, name in enumerate(GENERATORS)}
    results = results.sort_values(
        ["generator", "replication"], key=lambda column: column.map(order) if column.name == "generator" else column,
        kind="stable", ignore_index=True,
    )  # fmt: skip
    summary = table(results)
    found = bars(summary)
    settings = {
        "replications": replications,
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "headline": HEADLINE,
        "draws": DRAWS,
        "KL of built policies": KL,
        "processes": jobs,
    }
    write(out, "coverage", results, found, settings, time.perf_counter() - start)
    write_table(summary, out / "table.md")
    write_plot(results, out / "plots.html")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("coverage", __doc__, "10 replications", argv)
    print(bars_as_text(run(arguments.out, replications=10 if arguments.quick else 200, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
