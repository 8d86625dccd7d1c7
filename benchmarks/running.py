"""What the benchmarks of replications share: their command line, and the executor that replicates."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Memory

from causalopt import plugins
from causalopt.executors import Executor
from causalopt.progress import show_progress, track

Record = dict[str, Any]
Jobs = int | str
"""Processes of this machine, or the name of an executor."""
JOBS = "processes of this machine, one thread each; or the name of an executor, such as ray"


def read_jobs(given: str) -> Jobs:
    """Read ``--jobs``."""
    return int(given) if given.isdigit() else given


def executor(jobs: Jobs) -> Executor:
    """Return the executor of ``--jobs``."""
    made: Executor = plugins.executors.create({"name": "local", "processes": jobs} if isinstance(jobs, int) else jobs)
    return made


def parse(name: str, description: str | None, quick: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read ``--out``, ``--quick`` and ``--jobs``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, required=True, help="where results, summary, table and plots go")
    parser.add_argument("--jobs", type=read_jobs, default=2, help=JOBS)
    return parser.parse_args(argv)


def replicate_all(
    replicate: Callable[..., list[Record]], work: Sequence[tuple[Any, ...]], jobs: Jobs, out: Path
) -> pd.DataFrame:
    """Rows of ``replicate(*arguments)`` over all of ``work``, in its order.

    Each replication is kept in ``out/unfinished`` until `benchmarks.output.write` has written the results: a run that
    was killed goes on where it stopped.
    """
    kept = Memory(out / "unfinished", verbose=0)
    with show_progress():
        done = executor(jobs).map(partial(_with_arguments, kept.cache(replicate)), work)
        rows = [row for part in track(done, "replications", total=len(work)) for row in part]
    return pd.DataFrame(rows)


def _with_arguments(replicate: Callable[..., list[Record]], arguments: tuple[Any, ...]) -> list[Record]:
    return replicate(*arguments)


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
