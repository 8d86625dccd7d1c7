"""``python -m benchmarks.odd_tables [--quick] --out DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.odd_tables.replication import replicate
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, markdown, parse, replicate_all

ODDITIES = ("texts", "outcomes", "covariates", "extra")
FORMATS = {
    "oddity": "",
    "kind": "",
    "tables": "",
    "refused": "",
    "mean stands in": "",
    "no correction": "",
    "at fault": "",
    "largest loss": ".2f",
}


def run(out: Path, *, tables: int = 2000, jobs: Jobs = 2) -> list[Bar]:
    """Draw and fit the tables, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    work = [(seed,) for seed in range(tables)]
    results = replicate_all(replicate, work, jobs, out).sort_values("table", ignore_index=True)
    found = bars(results)
    write(out, "odd_tables", results, found, {"tables": tables, "processes": jobs}, time.perf_counter() - start)
    (out / "table.md").write_text(markdown(table(results), FORMATS), encoding="utf-8")
    return found


def bars(results: pd.DataFrame) -> list[Bar]:
    """Every count of what may not be is zero; a table that is refused in one line is no fault."""
    return [
        Bar.at_most(0, "tables that end in a traceback or in several lines", (results["ended"] == "broken").sum()),
        Bar.at_most(
            0, "tables with nuisances at fault", ((results["ended"] == "fitted") & (results["wrong"] != "")).sum()
        ),
        Bar.at_most(0.3, "share of the tables that are refused", (results["ended"] == "refused").mean()),
    ]


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each kind of oddity."""
    rows = []
    for oddity in ODDITIES:
        for kind, part in results.groupby(oddity):
            rows.append(
                {
                    "oddity": oddity,
                    "kind": kind,
                    "tables": len(part),
                    "refused": int((part["ended"] == "refused").sum()),
                    "mean stands in": int(part["failures"].str.contains("outcome").sum()),
                    "no correction": int(part["failures"].str.contains("assignment").sum()),
                    "at fault": int((part["wrong"] != "").sum()),
                    "largest loss": float(part["loss"].max()),
                }
            )
    return pd.DataFrame(rows)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("odd_tables", __doc__, "60 tables", argv)
    size = {"tables": 60} if arguments.quick else {}
    print(bars_as_text(run(arguments.out, jobs=arguments.jobs, **size)))


if __name__ == "__main__":
    main()
