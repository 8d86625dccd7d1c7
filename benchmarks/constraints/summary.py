"""From replications to the table and its bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

from benchmarks.output import Bar
from benchmarks.running import markdown

CELL = ["cell", "penalised"]
FORMATS = {
    "cell": "",
    "penalised": "",
    "bound": ".2f",
    "runs": "d",
    "keeps": ".3f",
    "complaints": ".3f",
    "gain": ".3f",
    "best": ".3f",
    "share": ".3f",
    "reference": ".3f",
    "says": ".3f",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: how often the bound is kept, mean complaints and gain, and the share of the best feasible gain.

    ``share`` is the mean gain over the mean of the best feasible one, ``reference`` how often the reference was
    returned, and ``says`` how often the run says that the reference is not shown to keep the bound.
    """
    frame = results.assign(keeps=(results["complaints"] <= results["bound"]).astype(float))
    grouped = frame.groupby(CELL, sort=False)
    cells = pd.DataFrame(
        {
            "bound": grouped["bound"].first(),
            "runs": grouped.size(),
            "keeps": grouped["keeps"].mean(),
            "complaints": grouped["complaints"].mean(),
            "gain": grouped["gain"].mean(),
            "best": grouped["best_feasible_gain"].mean(),
            "reference": grouped["is_reference"].mean(),
            "says": grouped["said_of_reference"].mean(),
        }
    )
    return cells.assign(share=cells["gain"] / cells["best"]).reset_index()


def bars(results: pd.DataFrame) -> list[Bar]:
    cells = table(results).set_index(CELL)
    conflict, fails = cells.loc[("conflict", True)], cells.loc[("reference fails", True)]
    broken = results[results["penalised"] & (results["cell"] == "reference fails")]
    silent = (broken["complaints"] > broken["bound"]) & ~(broken["is_reference"] & broken["said_of_reference"])
    return [
        Bar.at_least(0.95, "share of runs whose policy keeps the bound, conflict", conflict["keeps"]),
        Bar.at_least(0.6, "share of the best feasible gain, conflict", conflict["share"]),
        Bar.at_least(0.95, "share of runs that say that the reference fails, where it does", fails["says"]),
        Bar.at_most(
            0.05, "share of runs that break the bound and do not say so, where the reference fails", silent.mean()
        ),
    ]


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(results: pd.DataFrame, path: Path) -> None:
    figure = px.scatter(
        results,
        x="complaints",
        y="gain",
        color="penalised",
        facet_col="cell",
        title="True gain and share of complaints of the chosen policies",
        height=480,
    )
    for column, cell in enumerate(dict.fromkeys(results["cell"]), start=1):
        figure.add_vline(x=float(results.loc[results["cell"] == cell, "bound"].iloc[0]), line_dash="dot", col=column)
    figure.write_html(path)
