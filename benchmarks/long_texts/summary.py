"""From replications to the table, its bars and its plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.express as px

from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table
from causalopt.typing import Float64

CELL = ["length", "estimator"]
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "bias": "+.4f",
    "sd": ".4f",
    "rmse": ".4f",
    "coverage": ".3f",
    "width": ".3f",
    "ess": ".0f",
}
THIN = 0.1
"""Share of the rows below which the verdict of a run calls overlap thin."""


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each length and estimator; ``ess`` is the median effective sample size."""
    sizes = results.groupby(CELL, sort=False)["ess"].median().reset_index()
    return replications_table(results, CELL).merge(sizes, on=CELL)


def gives_out(sizes: Float64, n: int) -> int:
    """First length at which the effective sample size is below a tenth of the rows; 0 when it never is."""
    thin = np.flatnonzero(sizes < THIN * n)
    return int(thin[0]) + 1 if len(thin) else 0


def bars(cells: pd.DataFrame) -> list[Bar]:
    longest = cells[cells["length"] == cells["length"].max()].set_index("estimator")
    mdr = cells[cells["estimator"] == "mdr"]
    sequence = cells[cells["estimator"] == "snipw"].set_index("length")["ess"]
    rmse = longest["rmse"]
    return [
        Bar.at_least(0.92, "lowest coverage of mdr, any length", mdr["coverage"].min()),
        Bar.at_most(0.5, "RMSE of mdr over that of dr, longest texts", rmse["mdr"] / rmse["dr"]),
        Bar.at_most(0.5, "RMSE of mips over that of snipw, longest texts", rmse["mips"] / rmse["snipw"]),
        Bar.at_most(0.05, "effective sample of the sequence ratio, longest over shortest texts",
                    sequence[sequence.index.max()] / sequence[sequence.index.min()]),
    ]  # fmt: skip


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plots(cells: pd.DataFrame, sizes: Float64, path: Path) -> None:
    error = px.line(
        cells, x="length", y="rmse", color="estimator", markers=True, log_x=True, log_y=True,
        title="Root mean squared error, outcome units",
    )  # fmt: skip
    size = px.line(
        x=np.arange(1, len(sizes) + 1), y=sizes, log_y=True, labels={"x": "tokens", "y": "rows"},
        title="Effective sample size of the ratio of sequence probabilities",
    )  # fmt: skip
    parts = [
        error.to_html(full_html=False, include_plotlyjs=True),
        size.to_html(full_html=False, include_plotlyjs=False),
    ]
    page = "<!doctype html><meta charset='utf-8'><title>Long texts</title>" + "\n".join(parts)
    path.write_text(page, encoding="utf-8")
