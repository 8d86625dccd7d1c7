"""What every benchmark leaves behind, in one form."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGES = ("causalopt", "numpy", "scipy", "pandas", "scikit-learn", "torch", "transformers")


@dataclass(frozen=True)
class Bar:
    """One thing that a benchmark must show: what was measured, against what, and whether it holds."""

    name: str
    value: float
    threshold: str
    holds: bool

    @classmethod
    def at_least(cls, limit: float, name: str, value: float) -> Bar:
        return cls(name, float(value), f"at least {limit:g}", bool(value >= limit))

    @classmethod
    def at_most(cls, limit: float, name: str, value: float) -> Bar:
        return cls(name, float(value), f"at most {limit:g}", bool(value <= limit))


def write(
    out: Path, name: str, results: pd.DataFrame, bars: Sequence[Bar], settings: Mapping[str, Any], seconds: float
) -> None:
    """Write ``results.parquet`` and ``summary.json``; then forget the replications, as a later run is of later code."""
    out.mkdir(parents=True, exist_ok=True)
    results.to_parquet(out / "results.parquet", index=False)
    summary = {
        "benchmark": name,
        "bars": [asdict(bar) for bar in bars],
        "settings": dict(settings),
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "machine": {"system": platform.system(), "processor": platform.machine()},
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    shutil.rmtree(out / "unfinished", ignore_errors=True)


def bars_as_text(bars: Sequence[Bar]) -> str:
    """One line a bar."""
    return "\n".join(
        f"{'holds' if bar.holds else 'FAILS'}  {bar.name}: {bar.value:.4g} ({bar.threshold})" for bar in bars
    )
