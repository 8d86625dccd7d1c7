"""Estimates with their intervals, as a figure for a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go


def interval_plot(estimates: Mapping[str, Mapping[str, Any]], *, title: str) -> go.Figure:
    """Draw one estimate with its interval per line, from above in their order, and a line at zero.

    Parameters
    ----------
    estimates:
        By name, ``estimate``, ``ci_low`` and ``ci_high``.
    title:
        Of the axis.
    """
    names = [html.escape(name) for name in estimates]  # plotly reads tags in labels
    values = [one["estimate"] for one in estimates.values()]
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=names,
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [one["ci_high"] - one["estimate"] for one in estimates.values()],
                "arrayminus": [one["estimate"] - one["ci_low"] for one in estimates.values()],
            },
        )
    )
    figure.add_vline(x=0, line={"dash": "dash", "width": 1})
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(xaxis_title=title, height=120 + 40 * len(names), showlegend=False)
    return figure
