"""``python -m benchmarks.confounding [--quick] --out DIR``."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.confounding.catalogue import CATALOGUE, TUNED
from benchmarks.confounding.cells import Store
from benchmarks.confounding.grading import COMMON_KL
from benchmarks.confounding.own import own_methods
from benchmarks.confounding.parts import PARTS, QUICK, Design, plan
from benchmarks.confounding.plots import write_plots
from benchmarks.confounding.running import run_cells
from benchmarks.confounding.summary import REACHED, bars, markdown, results_frames
from benchmarks.confounding.tuning import tune
from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import JOBS, Jobs, read_jobs
from causalopt.progress import show_progress


def run(out: Path, design: Design, *, jobs: Jobs = 2) -> list[Bar]:
    """Compute the cells that ``out`` lacks, then write results, summary, table and plots, and return the bars."""
    start = time.perf_counter()
    cells, store = plan(design), Store(out / "cells")
    with show_progress():
        run_cells(cells, store, jobs)
    results, frontier = results_frames(cells, store)
    found = bars(results)
    settings = {
        "seeds": list(design.seeds),
        "reached_seeds": list(design.reached_seeds),
        "validation_seeds": list(design.validation_seeds),
        "sizes": list(design.sizes),
        "strengths": list(design.strengths),
        "common_kl": COMMON_KL,
        "processes": jobs,
        "methods": {cell.method: dict(cell.spec) for cell in cells},
        "worlds": {f"{cell.part}: {cell.label}": _without_folder(cell.world) for cell in cells},
    }
    write(out, "confounding", results, found, settings, time.perf_counter() - start)
    frontier.to_parquet(out / "frontier.parquet", index=False)
    (out / "table.md").write_text(markdown(results, found), encoding="utf-8")
    write_plots(results, frontier, out / "plots.html")
    return found


def _without_folder(world: Mapping[str, Any]) -> dict[str, Any]:
    """Where a table of texts lies is of one machine alone."""
    return {name: Path(value).name if name == "path" else value for name, value in world.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.confounding", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two strengths, two seeds, 1,000 rows, the main methods")
    parser.add_argument("--out", type=Path, required=True, help="where cells, results, summary, table and plots go")
    parser.add_argument("--jobs", type=read_jobs, default=2, help=JOBS)
    parser.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE:FACTORY",
        help="a method of your own, beside ours; may be repeated",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with methods of your own: under 'methods', for each name a PACKAGE.MODULE:FACTORY, or 'method' with "
        "it and the factory's keyword arguments",
    )
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one part alone; may be repeated")
    parser.add_argument("--strength", action="append", type=float, help="one confounding alone; may be repeated")
    parser.add_argument("--only", action="append", metavar="METHOD", help="one of our methods alone; may be repeated")
    parser.add_argument("--size", action="append", type=int, help="one number of rows alone, for the last parts")
    parser.add_argument("--seed", action="append", type=int, help="one seed alone, for the last parts")
    parser.add_argument("--texts", metavar="FILE", help="a table of real texts, for the parts on texts")
    parser.add_argument("--text-column", default="text", help="its column of texts")
    parser.add_argument("--tune", action="store_true", help=f"tune all (or --only some) into {TUNED.name}, and stop")
    arguments = parser.parse_args(argv)
    if arguments.tune:
        methods = arguments.only or list(CATALOGUE)
        command = f"python -m benchmarks.confounding --tune --out {shlex.quote(arguments.out.name)}"
        command += "".join(f" --only {label}" for label in arguments.only or ())
        with show_progress():
            tune(Store(arguments.out / "cells"), TUNED, methods, arguments.jobs, command)
        return
    design = QUICK if arguments.quick else Design()
    parts = tuple(arguments.part or design.parts)
    if not set(REACHED).issuperset(parts) and (arguments.size or arguments.seed):
        parser.error(f"--size and --seed are for the parts {', '.join(REACHED)} alone")
    design = replace(
        design,
        methods=tuple(arguments.only or design.methods),
        own=own_methods(arguments.method, arguments.config),
        settings=tuple(arguments.only or design.settings),
        sizes=tuple(arguments.size or design.sizes),
        reached_sizes=tuple(arguments.size or design.reached_sizes),
        reached_seeds=tuple(arguments.seed or design.reached_seeds),
        validation_seeds=tuple(arguments.seed or design.validation_seeds),
        parts=parts,
        strengths=tuple(arguments.strength or design.strengths),
        texts=arguments.texts,
        text_column=arguments.text_column,
    )
    print(bars_as_text(run(arguments.out, design, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
