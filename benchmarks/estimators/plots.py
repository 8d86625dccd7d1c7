"""Bias, error and coverage against n: one page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.express as px

MEASURES = {
    "coverage": "Coverage of the 95% interval",
    "rmse": "Root mean squared error, outcome units",
    "bias": "Bias, outcome units",
    "width": "Mean width of the interval, outcome units",
}


def write_plots(cells: pd.DataFrame, path: Path) -> None:
    """Write ``path``, a self-contained HTML page with one figure a measure."""
    frame = cells[cells["estimator"] != "naive"].copy()
    frame["models"] = "outcome " + frame["outcome_model"] + ", assignment " + frame["assignment_model"]
    parts = []
    for measure, title in MEASURES.items():
        figure = px.line(
            frame,
            x="n",
            y=measure,
            color="estimator",
            facet_row="design",
            facet_col="models",
            markers=True,
            log_x=True,
            log_y=measure in ("rmse", "width"),
            title=title,
            height=640,
        )
        figure.for_each_annotation(lambda annotation: annotation.update(text=annotation.text.split("=")[-1]))
        if measure == "coverage":
            figure.add_hline(y=0.95, line_dash="dot")
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
    page = "<!doctype html><meta charset='utf-8'><title>Value estimators</title>" + "\n".join(parts)
    path.write_text(page, encoding="utf-8")
