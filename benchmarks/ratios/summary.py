"""From replications to the table, its bars and its plot."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

from benchmarks.output import Bar
from benchmarks.running import markdown

CELL = ["law", "dimensions", "n", "model"]
LOG_LINEAR = ("gaussian", "attributes")
"""Laws whose log ratio is a product of text and reader but for its margins: both models hold the truth."""
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "correlation": ".3f",
    "lowest": ".3f",
    "slope": ".2f",
    "sd of the truth": ".2f",
    "mean weight": ".2f",
    "seconds": ".1f",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Means over the replications, and the lowest correlation."""
    grouped = results.sort_values([*CELL, "replication"]).groupby(CELL, sort=False)
    columns = {
        "correlation": grouped["correlation"].mean(),
        "lowest": grouped["correlation"].min(),
        "slope": grouped["slope"].mean(),
        "sd of the truth": grouped["sd_of_truth"].mean(),
        "mean weight": grouped["mean_weight"].mean(),
        "seconds": grouped["seconds"].mean(),
    }
    return pd.DataFrame(columns).reset_index()


def bars(cells: pd.DataFrame) -> list[Bar]:
    """Values are means over replications at the largest n, the worst over dimensions and laws."""
    largest = cells[cells["n"] == cells["n"].max()]
    simple = largest[largest["law"].isin(LOG_LINEAR)]
    classifier = largest[largest["model"] == "classifier"]
    of = largest.pivot_table(index=["law", "dimensions"], columns="model", values="correlation")
    curved = of.loc["curved attributes"]
    gain = (curved["classifier"] - curved["gaussian"]).min()
    return [
        Bar.at_least(0.9, "lowest correlation of either model, log-linear laws", simple["correlation"].min()),
        Bar.at_least(0.85, "lowest calibration slope of either model, log-linear laws", simple["slope"].min()),
        Bar.at_most(1.15, "highest calibration slope of either model, log-linear laws", simple["slope"].max()),
        Bar.at_least(0.7, "lowest correlation of the classifier, any law", classifier["correlation"].min()),
        Bar.at_least(0.75, "lowest calibration slope of the classifier, any law", classifier["slope"].min()),
        Bar.at_most(1.25, "highest calibration slope of the classifier, any law", classifier["slope"].max()),
        Bar.at_least(0.1, "smallest gain in correlation of the classifier, curved law", gain),
    ]


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(results: pd.DataFrame, path: Path) -> None:
    figure = px.strip(
        results,
        x="n",
        y="correlation",
        color="model",
        facet_row="dimensions",
        facet_col="law",
        title="Correlation of the estimated with the true log ratio, on new rows",
        height=640,
    )
    figure.update_xaxes(type="category")
    figure.write_html(path)
