"""True value against confounding strength at equal KL, and against KL: one page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from benchmarks.confounding.grading import COMMON_KL
from benchmarks.confounding.summary import over_seeds


def write_plots(results: pd.DataFrame, frontier: pd.DataFrame, path: Path) -> None:
    """Write ``path``, a self-contained HTML page."""
    strength = results[results["part"] == "strength"]
    figures = [
        _against_strength(strength, "gain_common", f"True value gained at {COMMON_KL} nats, outcome units"),
        _against_strength(strength, "gain_share_common", f"Share of the best gain at {COMMON_KL} nats"),
        _frontier(frontier[frontier["part"] == "strength"], strength),
        _against_world(results),
    ]
    parts = [figure.to_html(full_html=False, include_plotlyjs=i == 0) for i, figure in enumerate(figures)]
    page = "<!doctype html><meta charset='utf-8'><title>Confounding</title>" + "\n".join(parts)
    path.write_text(page, encoding="utf-8")


def _against_strength(results: pd.DataFrame, column: str, title: str) -> go.Figure:
    frame = over_seeds(results, column)
    frame["error"] = frame["high"] - frame["mean"]
    figure = px.line(
        frame,
        x="strength",
        y="mean",
        color="method",
        symbol="method",
        error_y="error",
        markers=True,
        height=640,
        title=title,
        labels={"mean": title, "strength": "confounding: 0 none, 0.65 hides the effect, 1 reverses its sign"},
    )
    figure.add_hline(y=0, line_dash="dot")
    return figure


def _frontier(frontier: pd.DataFrame, results: pd.DataFrame) -> go.Figure:
    """Mean over seeds at each KL that every seed's policy reaches; beside it the best policy of that KL."""
    keys = ["strength", "seed", "method"]
    start = results[[*keys, "value_reference"]]
    frame = frontier.merge(start, on=keys)
    frame["gain"], frame["possible"] = (
        frame["value"] - frame["value_reference"],
        frame["best"] - frame["value_reference"],
    )
    frame["kl"] = frame["kl"].round(4)
    best = frame[frame["method"] == "oracle"].assign(method="best possible", gain=lambda rows: rows["possible"])
    frame = pd.concat([frame, best])
    seeds = frame.groupby(["strength", "method"])["seed"].transform("nunique")
    reached = frame.groupby(["strength", "method", "kl"])["seed"].transform("nunique")
    means = frame[reached == seeds].groupby(["strength", "method", "kl"], sort=False)["gain"].mean().reset_index()
    origin = means[["strength", "method"]].drop_duplicates().assign(kl=0.0, gain=0.0)
    return px.line(
        pd.concat([origin, means]).sort_values(["strength", "method", "kl"]),
        x="kl",
        y="gain",
        color="method",
        facet_col="strength",
        markers=True,
        height=640,
        title="Frontier: true value gained against KL to the reference",
        labels={"kl": "KL to the reference, nats", "gain": "true value gained, outcome units"},
    )


def _against_world(results: pd.DataFrame) -> go.Figure:
    """Gain share at own KL in the parts that compare a few cells."""
    frame = over_seeds(results[results["part"] != "strength"], "gain_share")
    frame["error"] = frame["high"] - frame["mean"]
    frame["where"] = frame["part"] + ": " + frame["world"] + ", n = " + frame["n"].astype(str)
    return px.scatter(
        frame,
        x="mean",
        y="method",
        error_x="error",
        color="where",
        height=800,
        title="Share of the best gain at the policy's own KL",
        labels={"mean": "share of the best gain"},
    )
