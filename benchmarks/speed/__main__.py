"""``python -m benchmarks.speed [--quick] --out DIR``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch

from benchmarks.output import Bar, bars_as_text, write
from benchmarks.speed.clock import Segment
from benchmarks.speed.plots import write_plots
from benchmarks.speed.scaling import Point, scaling
from benchmarks.speed.summary import COMPARISONS, bars, heading, markdown, ratios
from benchmarks.speed.systems import DTYPE, MICRO_BATCHES, ON_GPU, SYSTEMS, System
from benchmarks.speed.worker import Worker
from benchmarks.speed.workload import LORA, SAMPLED_PER_ROW, make_reference, make_workload
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.progress import show_progress, track

CONTEXT = 1024
EVEN_LENGTH = 48
"""Tokens of every text where nobody pads."""
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L4": 121e12, "L40S": 362e12}
"""Dense bfloat16 operations per second, from the vendor's data sheets."""


@dataclass(frozen=True)
class Plan:
    """How much of a model is run."""

    rows_per_step: int
    steps: int
    rounds: int


CPU_PLANS = {"llama-4m": Plan(16, 4, 3), "smollm2-135m": Plan(4, 3, 3)}
QUICK_PLANS = {"llama-4m": Plan(16, 3, 3)}
GPU_PLANS = {"qwen2.5-0.5b": Plan(32, 6, 5), "llama3.2-1b": Plan(32, 6, 5)}
LENGTHS: list[Point] = [(length, 4) for length in (32, 64, 128, 256, 512, 1024)]
BATCHES: list[Point] = [(64, rows) for rows in (1, 4, 8, 32)]


def run(
    out: Path, plans: Mapping[str, Plan], points: Sequence[Point], *, command: str = "python -m benchmarks.speed"
) -> list[Bar]:
    """Time the models of ``plans`` and the scaling of the first one, write everything, and return the bars."""
    started = time.perf_counter()
    systems = _systems()
    compared = ("causalopt dr_cpo", "plain loop", f"TRL KTO strongest, {DTYPE}")
    chosen = {name: systems[name] for name in compared if name in systems}
    grid = scaling(make_reference(next(iter(plans)), CONTEXT), chosen, dict.fromkeys(points), steps=3)
    results = pd.concat(_rounds(make_reference(model, CONTEXT), model, plan, systems) for model, plan in plans.items())
    found = ratios(results)
    reached = bars(found)
    seconds = time.perf_counter() - started
    settings = {
        "plans": {model: vars(plan) for model, plan in plans.items()},
        "lora": LORA,
        "sampled_per_row": SAMPLED_PER_ROW,
        "micro_batches": MICRO_BATCHES,
        "threads": 1,
        "device": torch.cuda.get_device_name() if ON_GPU else "cpu",
        "dtype": DTYPE,
        "trl": find_spec("trl") is not None,
        "seeds": 0,
    }
    write(out, "speed", results, reached, settings, seconds)
    frame = pd.DataFrame(grid)
    frame.to_parquet(out / "scaling.parquet", index=False)
    text = markdown(results, found, list(GPU_PLANS))
    (out / "table.md").write_text(text, encoding="utf-8")
    (out / "RESULTS.md").write_text(heading(command, seconds) + text + _grid(frame), encoding="utf-8")
    write_plots(results, frame, out / "plots.html")
    return reached


def _systems() -> dict[str, System]:
    if find_spec("trl") is None:
        return SYSTEMS
    from benchmarks.speed import kto

    return {**SYSTEMS, **kto.SYSTEMS}


def _rounds(reference: HuggingFacePolicy, model: str, plan: Plan, systems: Mapping[str, System]) -> pd.DataFrame:
    """Every system once a round, so that what else the machine does falls on all of them."""
    natural = make_workload(reference, rows_per_step=plan.rows_per_step, steps=plan.steps)
    even = make_workload(reference, rows_per_step=plan.rows_per_step, steps=plan.steps, length=EVEN_LENGTH)
    works = {"natural": natural, "even": even}
    on_even = {name for c in COMPARISONS if c.texts == "even" for name in (c.numerator, c.denominator)}
    cells = [
        (turn, texts, name)
        for turn in range(plan.rounds)
        for texts in works
        for name in systems
        if texts == "natural" or name in on_even
    ]
    parameters = sum(parameter.numel() for parameter in reference.model.parameters())
    rows = []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(system, works)) for name, system in systems.items()}
        stack.enter_context(show_progress())  # last: it starts a thread, and what is forked must have none
        for turn, texts, name in track(cells, f"timing {model}"):
            segment, _ = workers[name].run(texts)
            work = works[texts]
            logged = min(segment.tokens, work.count(sampled=False)[0])
            rows.append(
                {
                    "model": model,
                    "texts": texts,
                    "system": name,
                    "round": turn,
                    "seconds": segment.seconds,
                    "wall_seconds": segment.wall_seconds,
                    "tokens": segment.tokens,
                    "sequences": segment.sequences,
                    "tokens_per_second": segment.tokens / segment.seconds,
                    "logged_tokens_per_second": logged / segment.seconds,
                    "seconds_per_sequence": segment.seconds / segment.sequences,
                    "precompute_per_sequence": segment.precompute_seconds / _precomputed(segment, work.steps),
                    "peak_bytes": float("nan") if segment.peak_bytes is None else segment.peak_bytes,
                    "mfu": _utilisation(segment, parameters),
                }
            )
    return pd.DataFrame(rows)


def _precomputed(segment: Segment, steps: int) -> float:
    """Sequences of all steps, the untimed first one included."""
    return segment.sequences * steps / (steps - 1)


def _utilisation(segment: Segment, parameters: int) -> float:
    """Share of the GPU's peak that 4 operations per parameter and token take: forward, and backward to activations."""
    if not ON_GPU:
        return float("nan")
    peaks = [peak for name, peak in PEAK_FLOPS.items() if name in torch.cuda.get_device_name().split("-")[0].split()]
    return 4 * parameters * segment.tokens / segment.seconds / peaks[0] if peaks else float("nan")


def _grid(frame: pd.DataFrame) -> str:
    lines = ["", "## Scaling", "", "The smallest model; memory is the peak above what the model takes.", ""]
    lines += [
        "| tokens of a text | rows of a step | system | tokens/s trained | peak memory, MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.length} | {row.rows} | {row.system} | {row.tokens_per_second:.0f} | {row.peak_mebibytes:.0f} |"
        for row in frame.sort_values(["rows", "length", "system"]).itertuples()
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest model alone, and a coarse scaling")
    parser.add_argument("--out", type=Path, required=True, help="where results, summary, tables and plots go")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    plans = QUICK_PLANS if arguments.quick else {**CPU_PLANS, **GPU_PLANS} if ON_GPU else CPU_PLANS
    points = [(64, 4), (256, 4), (64, 16)] if arguments.quick else [*LENGTHS, *BATCHES]
    command = "python -m benchmarks.speed" + (" --quick" if arguments.quick else "") + " --out DIR"
    print(bars_as_text(run(arguments.out, plans, points, command=command)))


if __name__ == "__main__":
    main()
