"""From rounds to ratios with their spread, to the bars and to the table."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from benchmarks.output import Bar
from benchmarks.speed.systems import DTYPE

OURS, DEFAULT, STRONGEST = "causalopt cpo", "TRL KTO default", "TRL KTO strongest"
DR = "causalopt dr_cpo"
NO_GPU = "no GPU on this machine"


@dataclass(frozen=True)
class Comparison:
    """The ratio of two systems in a measure, round by round, and the bar that its median has to meet."""

    name: str
    measure: str
    numerator: str
    denominator: str
    texts: str
    at_least: float | None = None
    at_most: float | None = None


SPEED, COST, DTYPES = "tokens_per_second", "seconds_per_sequence", ("float32", "bfloat16")
COMPARISONS = (
    Comparison(
        f"speed over {DEFAULT}, each at its own default ({DTYPE} over bfloat16)",
        SPEED,
        f"{OURS}, {DTYPE}",
        f"{DEFAULT}, bfloat16",
        "natural",
        at_least=3.0,
    ),
    *(
        Comparison(f"speed over {peer}{how}, both {dtype}", SPEED, f"{OURS}, {dtype}", f"{peer}, {dtype}", texts, bar)
        for peer, how, texts, bar in (
            (DEFAULT, "", "natural", 3.0),
            (STRONGEST, ", equal padding", "even", 1.4),
            (STRONGEST, ", natural lengths", "natural", None),
        )
        for dtype in DTYPES
    ),
    Comparison(
        f"speed over {STRONGEST}, equal padding, both float32 and with our kernels",
        SPEED,
        f"{OURS}, float32",
        f"{STRONGEST}, float32, our kernels",
        "even",
    ),
    Comparison("dr_cpo's speed over the plain loop", SPEED, DR, "plain loop", "natural"),
    Comparison(f"dr_cpo's speed over {DEFAULT}, both {DTYPE}", SPEED, DR, f"{DEFAULT}, {DTYPE}", "natural"),
    Comparison(
        f"dr_cpo's logged tokens over {DEFAULT}, both {DTYPE}",
        "logged_tokens_per_second",
        DR,
        f"{DEFAULT}, {DTYPE}",
        "natural",
    ),
    Comparison("a dr_cpo step over a supervised one", COST, DR, "supervised step", "natural", at_most=1.1),
    Comparison(
        "an accumulated dr_cpo step over an uncoupled one",
        COST,
        f"{DR}, accumulated",
        f"{DR} uncoupled, accumulated",
        "natural",
        at_most=1.5,
    ),
)


def ratios(results: pd.DataFrame) -> pd.DataFrame:
    """Median, least and greatest ratio over the rounds, one row for each model and comparison."""
    rows = []
    for model in results["model"].unique():
        for comparison in COMPARISONS:
            part = results[(results["model"] == model) & (results["texts"] == comparison.texts)]
            cells = part.pivot_table(index="round", columns="system", values=comparison.measure)
            if not {comparison.numerator, comparison.denominator} <= set(cells):
                continue
            ratio = cells[comparison.numerator] / cells[comparison.denominator]
            rows.append(
                {
                    "model": model,
                    "comparison": comparison.name,
                    "median": ratio.median(),
                    "min": ratio.min(),
                    "max": ratio.max(),
                    "at_least": comparison.at_least,
                    "at_most": comparison.at_most,
                }
            )
    return pd.DataFrame(rows)


def bars(found: pd.DataFrame) -> list[Bar]:
    """Return the bars: medians of the ratios that have one."""
    made = []
    for row in found.itertuples():
        name = f"{row.model}: {row.comparison}"
        if pd.notna(row.at_least):
            made.append(Bar.at_least(row.at_least, name, row.median))
        elif pd.notna(row.at_most):
            made.append(Bar.at_most(row.at_most, name, row.median))
    return made


def markdown(results: pd.DataFrame, found: pd.DataFrame, gpu_models: Sequence[str]) -> str:
    """Return the ratios and the speeds as Markdown; models of a GPU that is not there get a row that says so."""
    lines = ["## Ratios", "", "Median over the rounds (least to greatest).", ""]
    lines += ["| model | ratio | value | bar |", "|---|---|---|---|"]
    for row in found.itertuples():
        limit = f"at least {row.at_least:g}" if pd.notna(row.at_least) else ""
        limit = f"at most {row.at_most:g}" if pd.notna(row.at_most) else limit
        lines.append(
            f"| {row.model} | {row.comparison} | {row.median:.2f} ({row.min:.2f} to {row.max:.2f}) | {limit} |"
        )
    lines += ["", "## Speeds", "", "Medians over the rounds.", ""]
    lines += [
        "| model | texts | system | tokens/s trained | logged tokens/s | ms a sequence | precomputation, ms a sequence "
        "| peak memory, GiB | FLOPs utilisation |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    columns = ["tokens_per_second", "logged_tokens_per_second", "seconds_per_sequence", "precompute_per_sequence"]
    middle = results.groupby(["model", "texts", "system"], sort=False)[[*columns, "peak_bytes", "mfu"]].median()
    for (model, texts, system), row in middle.iterrows():
        memory = f"{row['peak_bytes'] / 2**30:.2f}" if pd.notna(row["peak_bytes"]) else ""
        share = f"{row['mfu']:.1%}" if pd.notna(row["mfu"]) else ""
        lines.append(
            f"| {model} | {texts} | {system} | {row['tokens_per_second']:.0f} | {row['logged_tokens_per_second']:.0f} "
            f"| {1e3 * row['seconds_per_sequence']:.1f} | {1e3 * row['precompute_per_sequence']:.1f} "
            f"| {memory} | {share} |"
        )
    if not torch.cuda.is_available():
        lines += [f"| {model} (bfloat16) | | {NO_GPU} | | | | | | |" for model in gpu_models]
    return "\n".join(lines) + "\n"


def heading(command: str, seconds: float) -> str:
    """Say when, where and with what the table was made."""
    versions = []
    for package in ("torch", "transformers", "peft", "trl"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{_processor()}; {NO_GPU}"
    return (
        "# Speed: results\n\n"
        f"`{command}` on {date.today().isoformat()}, {seconds / 60:.1f} minutes. {device}; "
        f"one thread on a CPU; Python {platform.python_version()}, {', '.join(versions)}. Where a name says no dtype, "
        f"it is {DTYPE}. How to read it: [README.md](README.md).\n\n"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    names = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    named = [line.split(":", 1)[1].strip() for line in names if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
