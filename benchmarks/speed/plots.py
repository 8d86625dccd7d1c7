"""Speeds side by side, and how speed and memory grow: one page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

MEASURES = {
    "tokens_per_second": "Real tokens trained per second",
    "peak_mebibytes": "Peak memory of a step above the model, MiB",
}


def write_plots(results: pd.DataFrame, scaling: pd.DataFrame, path: Path) -> None:
    """Write ``path``, a self-contained HTML page."""
    figures = []
    for model, part in results[results["texts"] == "natural"].groupby("model", sort=False):
        title = f"Real tokens trained per second, {model}: one point a round"
        figures.append(px.strip(part, x="tokens_per_second", y="system", title=title, height=420))
    axes = {"length": "Tokens of a text", "rows": "Rows of a step"}
    for axis, label in axes.items():
        other = next(name for name in axes if name != axis)
        fixed = scaling[other].mode().iloc[0]
        part = scaling[scaling[other] == fixed].sort_values(axis)
        for measure, title in MEASURES.items():
            figures.append(
                px.line(
                    part,
                    x=axis,
                    y=measure,
                    color="system",
                    markers=True,
                    log_x=True,
                    log_y=True,
                    title=f"{title}; {axes[other].lower()}: {fixed}",
                    labels={axis: label, measure: title},
                    height=480,
                )
            )
    parts = [figure.to_html(full_html=False, include_plotlyjs=not i) for i, figure in enumerate(figures)]
    page = "<!doctype html><meta charset='utf-8'><title>Speed</title>" + "\n".join(parts)
    path.write_text(page, encoding="utf-8")
