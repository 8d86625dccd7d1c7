"""From replications to the table, its bars and its plot."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table

CELL = ["design", "outcome_model", "estimator", "clustered_by"]
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "bias": "+.4f",
    "sd": ".4f",
    "rmse": ".4f",
    "coverage": ".3f",
    "width": ".3f",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    return replications_table(results.sort_values([*CELL, "replication"]), CELL)


def bars(cells: pd.DataFrame) -> list[Bar]:
    """Values are the worst over designs, outcome models and estimators."""
    coverage = cells.set_index("clustered_by")["coverage"]
    right = cells[cells["outcome_model"] == "right"].set_index("clustered_by")["coverage"]
    both = "text and reader"
    return [
        Bar.at_least(0.93, "lowest coverage clustered by text and reader, both models right", right[both].min()),
        Bar.at_most(0.97, "highest coverage clustered by text and reader, both models right", right[both].max()),
        Bar.at_least(0.90, "lowest coverage clustered by text and reader, outcome model wrong", coverage[both].min()),
        Bar.at_most(0.80, "highest coverage of the unclustered interval", coverage["nothing"].max()),
        Bar.at_most(0.80, "highest coverage clustered by text alone", coverage["text"].max()),
    ]


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(cells: pd.DataFrame, path: Path) -> None:
    figure = px.scatter(
        cells,
        x="coverage",
        y="clustered_by",
        color="estimator",
        facet_row="design",
        facet_col="outcome_model",
        title="Coverage of the 95% interval, by what its standard error is clustered by",
        height=640,
    )
    figure.add_vline(x=0.95, line_dash="dot")
    figure.write_html(path)
