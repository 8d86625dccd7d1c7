"""``python -m benchmarks.quickstart [--quick] --out DIR``: `configs/quickstart.yaml` on data of twenty seeds."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.output import Bar, bars_as_text, write
from benchmarks.running import Jobs, markdown, parse, replicate_all
from causalopt.run.config import load_config
from causalopt.run.pipeline import run as run_plan
from causalopt.run.plan import prepare

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SEEDS = [seed for seed in range(22) if seed not in (11, 12)]
"""The first is that of the configuration; 11 and 12 were looked at while the frontier was developed."""


def replicate(seed: int) -> list[dict[str, Any]]:
    """Run the configuration with another seed: of the data, the folds, the models and the draws."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run_plan(prepare(load_config(CONFIG, [f"seed={seed}"])), Path(folder) / "run")
    gain, truth = found["value"]["difference"], found["truth"]
    row = {
        "seed": seed,
        "true gain": truth["difference"],
        "estimate": gain["estimate"],
        "ci_low": gain["ci_low"],
        "ci_high": gain["ci_high"],
        "covers": gain["ci_low"] <= truth["difference"] <= gain["ci_high"],
        "verdict": found["outlook"],
        "thin": found["thin"],
        "place": found["frontier"]["chosen"],
        "kl": found["kl"],
        "language": truth["mass_policy"],
        "ess": found["overlap"]["ess"],
        "units": found["overlap"]["clusters"],
        "naive": found["comparisons"]["naive"]["truth"]["difference"],
        "cpu": time.process_time() - start,
    }
    return [row]


def run(out: Path, *, seeds: Sequence[int] = tuple(SEEDS), jobs: Jobs = 2) -> list[Bar]:
    """Run every seed, write ``results.parquet``, ``summary.json`` and ``table.md``, and return the bars."""
    start = time.perf_counter()
    results = replicate_all(replicate, [(seed,) for seed in seeds], jobs, out).sort_values("seed", ignore_index=True)
    found = [
        Bar.at_least(0.9, "median true gain", results["true gain"].median()),
        Bar.at_least(0.45, "median lower bound of the gain", results["ci_low"].median()),
        # Of 20 intervals that cover at 0.95, 16 or fewer cover with probability 0.016.
        Bar.at_least(0.85, "share of intervals that cover", results["covers"].mean()),
        Bar.at_most(0.1, "share of runs whose overlap is thin", results["thin"].mean()),
        Bar.at_most(0.0, "largest true gain of naive", results["naive"].max()),
    ]
    write(out, "quickstart", results, found, {"seeds": list(seeds), "processes": jobs}, time.perf_counter() - start)
    (out / "table.md").write_text(table(results), encoding="utf-8")
    return found


def table(results: pd.DataFrame) -> str:
    """Return one line for each seed."""
    formats = dict.fromkeys(["true gain", "estimate", "ci_low", "ci_high", "language", "naive"], ".3f")
    return markdown(
        results,
        {"seed": "d", **formats, "verdict": "s", "place": "g", "kl": ".2f", "ess": ".0f", "units": "d", "cpu": ".0f"},
    )


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse("quickstart", __doc__, "3 seeds", argv)
    print(bars_as_text(run(arguments.out, seeds=SEEDS[:3] if arguments.quick else SEEDS, jobs=arguments.jobs)))


if __name__ == "__main__":
    main()
