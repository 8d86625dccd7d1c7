"""What the benchmarks of replications share: their command line, and two processes that replicate."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Memory, Parallel, delayed, parallel_config

from causalopt.progress import show_progress, track

Record = dict[str, Any]


def parse(name: str, description: str | None, quick: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read ``--out``, ``--quick`` and ``--jobs``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, required=True, help="where results, summary, table and plots go")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    return parser.parse_args(argv)


def replicate_all(
    replicate: Callable[..., list[Record]], work: Sequence[tuple[Any, ...]], jobs: int, out: Path
) -> pd.DataFrame:
    """Rows of ``replicate(*arguments)`` over all of ``work``, in the order in which they end.

    Each replication is kept in ``out/unfinished`` until `benchmarks.output.write` has written the results: a run that
    was killed goes on where it stopped.
    """
    kept = Memory(out / "unfinished", verbose=0)
    with show_progress(), parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        done = Parallel(return_as="generator_unordered")(delayed(kept.cache(replicate))(*cell) for cell in work)
        rows = [row for part in track(done, "replications", total=len(work)) for row in part]
    return pd.DataFrame(rows)


def replications_table(results: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """One row a cell: bias, sd, rmse, coverage of the 95% interval and its mean width, outcome units."""
    error = results["estimate"] - results["truth"]
    covers = (results["ci_low"] <= results["truth"]) & (results["truth"] <= results["ci_high"])
    frame = results.assign(
        error=error, square=error**2, covers=covers.astype(float), width=results["ci_high"] - results["ci_low"]
    )
    grouped = frame.groupby(cell, sort=False)
    columns = {
        "bias": grouped["error"].mean(),
        "sd": grouped["error"].std(),
        "rmse": grouped["square"].mean() ** 0.5,
        "coverage": grouped["covers"].mean(),
        "width": grouped["width"].mean(),
        "replications": grouped.size(),
    }
    return pd.DataFrame(columns).reset_index()


def markdown(frame: pd.DataFrame, formats: dict[str, str]) -> str:
    """Return a Markdown table; ``formats`` holds a format for each column that is shown, in order."""
    header = ["| " + " | ".join(formats) + " |", "|" + "---|" * len(formats)]
    rows = [
        "| " + " | ".join(format(value, form) for value, form in zip(row, formats.values(), strict=True)) + " |"
        for row in frame[list(formats)].itertuples(index=False, name=None)
    ]
    return "\n".join([*header, *rows]) + "\n"
