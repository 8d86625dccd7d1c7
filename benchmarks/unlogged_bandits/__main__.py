"""``python -m benchmarks.unlogged_bandits [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.bandits.bandit import BATCH
from benchmarks.bandits.summary import FORMATS
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, markdown, parse, replicate_all, replications_table
from benchmarks.unlogged_bandits.replication import CASES, METHODS, POSTERIOR, ROWS, SPREAD, replicate

FIRST_SEED = 7000
"""Seeds below 100 were looked at while the outcome model was developed; those between are of other benchmarks."""
CELL = ["case", "quantity", "estimator"]
COVERS = ("a given text minus uniform", "the text shown most minus uniform")


def run(out: Path, *, replications: int = 200, cases: Sequence[str] = tuple(CASES), jobs: Jobs = 2) -> list[Bar]:
    """Replicate, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    seeds = range(FIRST_SEED, FIRST_SEED + replications)
    results = replicate_all(replicate, [(case, seed) for seed in seeds for case in cases], jobs, out)
    order = {name: i for i, name in enumerate((*CASES, *METHODS))}
    results = results.sort_values(
        ["case", "estimator", "replication"], key=lambda one: one.map(order).fillna(one), kind="stable"
    ).reset_index(drop=True)
    cells = table(results)
    found = bars(cells)
    settings = {
        "replications": replications,
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "rows": ROWS,
        "rows between updates": BATCH,
        "processes": jobs,
    }
    write(out, "unlogged_bandits", results, found, settings, time.perf_counter() - start)
    formats = {name: form for name, form in FORMATS.items() if name != "rows"}
    (out / "table.md").write_text(markdown(cells, formats), encoding="utf-8")
    return found


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each case, quantity and estimator; ``se`` is the mean standard error."""
    errors = results.groupby(CELL, sort=False)["se"].mean().reset_index()
    return replications_table(results, CELL).merge(errors, on=CELL)


def bars(cells: pd.DataFrame) -> list[Bar]:
    """Coverage of the posterior in the cases whose worths are normal, but for texts that are chosen by their truth."""
    normal = [name for name, case in CASES.items() if case.spread == SPREAD]
    part = cells[(cells["estimator"] == POSTERIOR) & cells["case"].isin(normal)]
    found = []
    for quantity in COVERS:
        coverage = part.loc[part["quantity"] == quantity, "coverage"]
        found.append(Bar.at_least(0.93, f"coverage of the posterior, {quantity}, mean of all cells", coverage.mean()))
        found.append(Bar.at_least(0.90, f"coverage of the posterior, {quantity}, lowest cell", coverage.min()))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("unlogged_bandits", __doc__, "20 replications", argv)
    size = {"replications": 20} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
