"""From replications to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

from benchmarks.bandits.replication import ALL, OWN
from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table

CELL = ["case", "rows", "quantity", "estimator"]
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "bias": "+.3f",
    "sd": ".3f",
    "rmse": ".3f",
    "se": ".3f",
    "coverage": ".3f",
    "width": ".2f",
    "replications": "d",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each case, number of rows, quantity and estimator; ``se`` is the mean standard error."""
    errors = results.groupby(CELL, sort=False)["se"].mean().reset_index()
    return replications_table(results, CELL).merge(errors, on=CELL)


def bars(cells: pd.DataFrame) -> list[Bar]:
    found = []
    for name in (ALL, OWN):
        part = cells[cells["estimator"] == name]
        for texts in ("8 texts", "40 texts"):
            for rows, here in part[part["case"].str.contains(f" {texts}")].groupby("rows"):
                where = f"{name}: coverage, {texts}, {rows} rows"
                found.append(Bar.at_least(0.93, f"{where}, mean of all cells", here["coverage"].mean()))
                found.append(Bar.at_least(0.87, f"{where}, lowest cell", here["coverage"].min()))
    by_name = {name: cells[cells["estimator"] == name].set_index(CELL[:3]) for name in (ALL, "dr")}
    ratio = (by_name[ALL]["rmse"] / by_name["dr"]["rmse"]).median()
    found.append(Bar.at_most(1.0, f"median over cells of the RMSE of {ALL} over that of dr", ratio))
    return found


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(results: pd.DataFrame, path: Path) -> None:
    """Errors of every replication, in standard errors."""
    frame = results.assign(z=((results["estimate"] - results["truth"]) / results["se"]).clip(-6, 6))
    figure = px.box(
        frame, x="case", y="z", color="estimator", facet_row="rows", height=900,
        title="Estimate minus truth, in standard errors (cut at 6)",
    )  # fmt: skip
    figure.write_html(path, include_plotlyjs=True)
