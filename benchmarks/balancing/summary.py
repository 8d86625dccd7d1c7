"""From replications to the table, its bars and its plot."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

from benchmarks.balancing.replication import KLS, TEMPLATE
from benchmarks.output import Bar
from benchmarks.running import markdown, replications_table

CELL = ["case", "estimator"]
FORMATS = {
    **dict.fromkeys(CELL, ""),
    "gain": "+.3f",
    "bias": "+.3f",
    "sd": ".3f",
    "rmse": ".3f",
    "se": ".3f",
    "coverage": ".3f",
    "width": ".3f",
}


def table(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each case and estimator; ``gain`` is the mean true difference, ``se`` the mean standard error."""
    means = results.groupby(CELL, sort=False)[["truth", "se"]].mean().rename(columns={"truth": "gain"}).reset_index()
    return replications_table(results, CELL).merge(means, on=CELL)


def bars(cells: pd.DataFrame) -> list[Bar]:
    found = []
    template = cells["case"].isin([TEMPLATE.format(kl) for kl in KLS])
    for name, part in (("sentences", cells[~template]), ("template world", cells[template])):
        if part.empty:
            continue
        ours, theirs = (part[part["estimator"] == one].set_index("case") for one in ("balance", "sndr"))
        rmse, bias = (ours["rmse"] / theirs["rmse"]).max(), (ours["bias"].abs() / ours["gain"]).max()
        found += [
            Bar.at_least(0.93, f"{name}: coverage of balance, all cases", ours["coverage"].mean()),
            Bar.at_least(0.88, f"{name}: lowest coverage of balance, any case", ours["coverage"].min()),
            Bar.at_most(1.0, f"{name}: largest RMSE of balance over that of sndr", rmse),
        ]
        if name == "template world":
            width = (ours["width"] / theirs["width"])[TEMPLATE.format(1.5)]
            found += [
                Bar.at_most(0.05, f"{name}: largest bias of balance over the gain", bias),
                Bar.at_most(0.5, f"{name}: width of balance over that of sndr at 1.5 nats", width),
            ]
    return found


def write_table(cells: pd.DataFrame, path: Path) -> None:
    path.write_text(markdown(cells, FORMATS), encoding="utf-8")


def write_plot(results: pd.DataFrame, path: Path) -> None:
    """Errors of every replication, in standard errors."""
    frame = results.assign(z=(results["estimate"] - results["truth"]) / results["se"])
    figure = px.box(
        frame, x="case", y="z", color="estimator", title="Estimate minus truth, in standard errors", height=600
    )
    figure.write_html(path, include_plotlyjs=True)
