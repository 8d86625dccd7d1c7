"""The plotly figures of a report. Series differ in shape or dash as well as in colour; figures contain no texts."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from causalopt.typing import Float64

# After Okabe and Ito: distinct under colour blindness, and at least 3:1 on white and on the dark background.
COLORS = ("#0b7fc0", "#d55e00", "#0f9b76", "#b5679a")
DASHES = ("solid", "dash", "dot")


def intervals(
    parts: Mapping[str, Mapping[str, Any]], axis: str, *, truth: Mapping[str, float], zero: bool = False
) -> go.Figure:
    """Draw one labelled estimate with its interval per row; ``truth`` marks the true values that are known."""
    names, rows = list(parts), list(parts.values())
    figure = go.Figure()
    figure.add_scatter(
        x=[part["estimate"] for part in rows],
        y=list(range(len(rows))),
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [part["ci_high"] - part["estimate"] for part in rows],
            "arrayminus": [part["estimate"] - part["ci_low"] for part in rows],
            "thickness": 2,
            "width": 6,
        },
        mode="markers",
        marker={"size": 11, "color": COLORS[0]},
        name="estimate and interval",
        showlegend=bool(truth),
    )
    if truth:
        figure.add_scatter(
            x=list(truth.values()),
            y=[names.index(name) for name in truth],
            mode="markers",
            marker={"size": 14, "symbol": "x-thin", "line": {"width": 3, "color": COLORS[1]}},
            name="truth",
        )
    if zero:
        figure.add_vline(x=0, line={"color": "#7a828c", "width": 1.5, "dash": "dash"})
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[_plain(name, 20) for name in names],
        automargin=True,
        showgrid=False,
    )
    figure.update_xaxes(title=_plain(axis))
    return _styled(figure, height=110 + 40 * len(rows) + (20 if truth else 0))


def frontier(points: Sequence[Mapping[str, Any]], axis: str, truth: float | None) -> go.Figure:
    """Draw gain against KL with its simultaneous band, and mark the chosen point; ``truth`` is its true gain."""
    known = sorted((point for point in points if point["gain"] is not None), key=lambda point: float(point["kl"]))
    chosen = [point for point in known if point["chosen"]]
    start = {"kl": 0.0, "gain": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    path = [start, *known]
    kl = [point["kl"] for point in path]
    figure = go.Figure()
    figure.add_scatter(
        x=[*kl, *reversed(kl)],
        y=[*(point["ci_high"] for point in path), *(point["ci_low"] for point in reversed(path))],
        fill="toself",
        fillcolor="rgba(11,127,192,0.18)",
        line={"width": 0},
        hoverinfo="skip",
        name="band",
    )
    figure.add_scatter(
        x=kl,
        y=[point["gain"] for point in path],
        mode="lines+markers",
        marker={"size": 7, "color": COLORS[0]},
        line={"color": COLORS[0], "width": 2},
        name="estimate",
    )
    figure.add_scatter(
        x=[point["kl"] for point in chosen] or [0.0],
        y=[point["gain"] for point in chosen] or [0.0],
        mode="markers",
        marker={"size": 15, "symbol": "circle-open", "line": {"width": 3, "color": COLORS[1]}},
        name="chosen",
    )
    if truth is not None and chosen:
        figure.add_scatter(
            x=[chosen[0]["kl"]],
            y=[truth],
            mode="markers",
            marker={"size": 14, "symbol": "x-thin", "line": {"width": 3, "color": COLORS[1]}},
            name="truth",
        )
    figure.add_hline(y=0, line={"color": "#7a828c", "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title="KL to the reference, nats", rangemode="tozero")
    figure.update_yaxes(title=_plain(axis), automargin=True)
    return _styled(figure, height=340)


def histogram(values: Mapping[str, Float64], axis: str) -> go.Figure:
    """Draw the distributions of one or more groups over common bins, as shares of each group."""
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    pooled = np.concatenate(list(finite.values()))
    bins = min(40, max(8, math.isqrt(len(pooled))))
    try:
        edges = np.histogram_bin_edges(pooled, bins=bins)
    except ValueError:  # values so large, and so near each other, that there are no numbers between them
        middle = float(np.median(pooled))
        half = max(1.0, float(np.abs(pooled - middle).max()), 1e-6 * abs(middle))
        edges = np.linspace(middle - half, middle + half, bins + 1)
    figure = go.Figure()
    for index, (name, array) in enumerate(finite.items()):
        counts, _ = np.histogram(array, edges)
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1],
            y=np.repeat(counts / max(1, len(array)), 2),
            mode="lines",
            line={"color": COLORS[index % len(COLORS)], "width": 2, "dash": DASHES[index % len(DASHES)]},
            fill="tozeroy" if len(finite) == 1 else None,
            name=_plain(name),
            showlegend=len(finite) > 1,
        )
    figure.update_xaxes(title=_plain(axis))
    figure.update_yaxes(title="share", automargin=True, tickformat=".0%", rangemode="tozero")
    return _styled(figure, height=300)


def curves(training: Mapping[str, pd.DataFrame], keys: Sequence[str]) -> go.Figure:
    """Draw each logged metric over the optimiser's steps, in one panel each, with one line for each model."""
    figure = make_subplots(rows=len(keys), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    several, named = len(training) > 1, set()
    for index, key in enumerate(keys):
        for which, (name, logged) in enumerate(training.items()):
            points = logged[["step", key]].dropna()
            if points.empty:
                continue
            figure.add_scatter(
                x=points["step"].to_numpy(),
                y=points[key].to_numpy(dtype=np.float64),
                mode="lines+markers" if len(points) <= 60 else "lines",
                marker={"size": 5},
                line={
                    "color": COLORS[(which if several else index) % len(COLORS)],
                    "width": 2,
                    "dash": DASHES[which % len(DASHES)],
                },
                name=_plain(name if several else key),
                legendgroup=name,
                showlegend=several and name not in named,
                row=index + 1,
                col=1,
            )
            named.add(name)
        figure.update_yaxes(title=_plain(key.replace("_", " ")), automargin=True, row=index + 1, col=1)
    figure.update_xaxes(title="step", row=len(keys), col=1)
    return _styled(figure, height=90 + 150 * len(keys) + (20 if several else 0))


def _styled(figure: go.Figure, height: int) -> go.Figure:
    """Style a figure; text and grid colours are left to the page, which knows whether it is light or dark."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 16, "t": 28, "b": 46},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13, "family": "system-ui, sans-serif"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        dragmode=False,
    )
    figure.update_xaxes(zeroline=False, automargin=True, nticks=6, tickangle=0, title_font_size=13, title_standoff=8)
    figure.update_yaxes(zeroline=False, title_font_size=13)
    return figure


def _plain(text: str, length: int = 40) -> str:
    """Shorten a name to fit on a phone, and escape it so that plotly does not read it as markup."""
    return html.escape(text if len(text) <= length else f"{text[: length - 1]}…", quote=False)
