"""From fits to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.output import Bar
from benchmarks.running import markdown

CELL = ["length", "method"]
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "gain": "+.3f",
    "gain_sd": ".3f",
    "of_best": ".2f",
    "kl": ".2f",
    "ess": ".0f",
    "collapsed": ".2f",
    "coverage": ".2f",
    "width": ".2f",
    "fits": "",
}
DEFAULT = "dr_cpo"
ALONE = 2.0
"""Effective number of training texts below which a fit has lost its data."""


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each length and method; ``of_best`` is the gain as a share of the best one, 1 if none gains."""
    covers = (results["ci_low"] <= results["gain"]) & (results["gain"] <= results["ci_high"])
    frame = results.assign(coverage=covers.astype(float), width=results["ci_high"] - results["ci_low"])
    grouped = frame.groupby(CELL, sort=False)
    cells = pd.DataFrame(
        {
            "gain": grouped["gain"].mean(),
            "gain_sd": grouped["gain"].std(),
            "kl": grouped["kl"].mean(),
            "ess": grouped["ess"].median(),
            "collapsed": grouped["collapsed"].mean(),
            "coverage": grouped["coverage"].mean(),
            "width": grouped["width"].mean(),
            "fits": grouped.size(),
        }
    ).reset_index()
    best = cells.groupby("length")["gain"].transform("max")
    return cells.assign(of_best=(cells["gain"] / best).where(best > 0, 1.0))


def bars(results: pd.DataFrame) -> list[Bar]:
    cells = table(results)
    default = cells[cells["method"] == DEFAULT]
    silent = (results["ess"] < ALONE) & ~results["collapsed"]
    return [
        Bar.at_least(0.8, "lowest gain of the default as a share of the best method's, any length",
                     default["of_best"].min()),
        Bar.at_most(0, "fits in which a single text is left and no warning says so", silent.sum()),
        Bar.at_least(0.9, "coverage of the intervals of the default", default["coverage"].mean()),
    ]  # fmt: skip


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells[list(FORMATS)], FORMATS), encoding="utf-8")
