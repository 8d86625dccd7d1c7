"""The charts of a report. Series differ in dash as well as in colour; what a chart shows is in words or a table too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from causalopt.digits import change, number, percent
from causalopt.report.svg import Axis, Chart
from causalopt.typing import Float64

MOST_POINTS = 200
"""Points of a training curve; longer ones are averaged over as many equal stretches."""


def frontier(points: Sequence[Mapping[str, Any]], axis: str, truth: float | None) -> Markup:
    """Draw gain against KL with its simultaneous band, and mark the chosen point; ``truth`` is its true gain."""
    known = sorted((point for point in points if point["gain"] is not None), key=lambda point: float(point["kl"]))
    path = [{"kl": 0.0, "gain": 0.0, "ci_low": 0.0, "ci_high": 0.0, "factor": 0.0}, *known]
    kl, gain, low, high = ([float(point[key]) for point in path] for key in ("kl", "gain", "ci_low", "ci_high"))
    chosen = next((point for point in known if point["chosen"]), path[0])
    chart = Chart(Axis.between([0.0, *kl]), Axis.over([*low, *high, *([] if truth is None else [truth])]))
    chart.area(kl, low, high)
    chart.curve(kl, gain, 0)
    for point in path:
        estimate, lower, upper = change({"estimate": point["gain"], **point})
        title = f"{number(point['kl'])} nats: {estimate} ({lower} to {upper})"
        chart.point(point["kl"], point["gain"], title)
    chart.point(chosen["kl"], chosen["gain"], "chosen", "chosen", 8)
    if truth is not None and chosen is not path[0]:
        chart.cross(chosen["kl"], truth)
    label = "Difference from the reference against the distance from it, with a band; the numbers are in the table."
    return chart.render(label, "distance from the reference (KL, nats)", axis)


def bins(values: Mapping[str, Float64]) -> tuple[Float64, dict[str, Float64]]:
    """Return common edges for one or more groups, and the share of each group in each bin.

    Examples
    --------
    >>> import numpy as np
    >>> edges, shares = bins({"a": np.array([0.0, 0.0, 1.0, np.nan])})
    >>> float(edges[0]), float(edges[-1]), float(shares["a"].sum())
    (0.0, 1.0, 1.0)
    """
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    pooled = np.concatenate(list(finite.values()))
    count = min(40, max(8, math.isqrt(len(pooled))))
    try:
        edges = np.histogram_bin_edges(pooled, bins=count)
    except ValueError:  # values so large, and so near each other, that there are no numbers between them
        middle = float(np.median(pooled))
        half = max(1.0, float(np.abs(pooled - middle).max()), 1e-6 * abs(middle))
        edges = np.linspace(middle - half, middle + half, count + 1)
    return edges, {name: np.histogram(array, edges)[0] / max(1, len(array)) for name, array in finite.items()}


def histogram(values: Mapping[str, Float64], axis: str, label: str) -> Markup:
    """Draw the distributions of one or more groups over common bins, as shares of each group."""
    edges, shares = bins(values)
    most = max((float(share.max(initial=0.0)) for share in shares.values()), default=0.0)
    chart = Chart(Axis.between(edges), Axis.over([0.0, most or 1.0]), height=180, shares="y")
    for series, share in enumerate(shares.values()):
        xs = np.repeat(edges, 2)
        ys = np.concatenate([[0.0], np.repeat(share, 2), [0.0]])
        if len(shares) == 1:
            chart.area(xs.tolist(), [0.0] * len(xs), ys.tolist())
        chart.curve(xs.tolist(), ys.tolist(), series)
    return chart.render(label, axis, "share of the texts" if len(shares) > 1 else "share of the rows")


def thinned(steps: Float64, values: Float64) -> tuple[Float64, Float64]:
    """Average a curve over at most `MOST_POINTS` equal stretches.

    Examples
    --------
    >>> import numpy as np
    >>> steps, values = thinned(np.arange(400.0), np.arange(400.0) % 2)
    >>> len(steps), steps[:2].tolist(), set(values.tolist())
    (200, [0.5, 2.5], {0.5})
    """
    if len(steps) <= MOST_POINTS:
        return steps, values
    parts = zip(np.array_split(steps, MOST_POINTS), np.array_split(values, MOST_POINTS), strict=True)
    means = np.array([(step.mean(), value.mean()) for step, value in parts])
    return means[:, 0], means[:, 1]


def curve(logged: pd.DataFrame, key: str, label: str) -> Markup:
    """Draw one logged metric of one fit over the optimiser's steps."""
    points = logged[["step", key]].dropna()
    steps, values = thinned(points["step"].to_numpy(np.float64), points[key].to_numpy(np.float64))
    chart = Chart(Axis.between(steps), Axis.over(values, 3), height=110)
    chart.curve(steps.tolist(), values.tolist(), 0)
    return chart.render(label, "step", key.replace("_", " "))


def contour(evidence: Mapping[str, Any], difference: Mapping[str, Any]) -> Markup:
    """Draw what is left of the difference under a hidden confounder, against its two strengths.

    A confounder of strengths c_y and c_d moves the difference by at most ``S sqrt(c_y c_d / (1 - c_d))``, with S the
    ``max_bias`` of the evidence (Chernozhukov et al., "Long story short"). The interval, too, depends on the strengths
    through that root alone, so that every line is known exactly from one of its points. The benchmarks are the recorded
    covariates, each as if it had been hidden.
    """
    size, scale = abs(float(difference["estimate"])), float(evidence["max_bias"])
    marks = [
        (one["covariate"], float(one["assignment_share"]), float(one["outcome_share"]))
        for one in evidence.get("benchmarks") or []
    ]
    least = [min(float(evidence[key]), 0.95) for key in ("robustness_value", "robustness_value_interval")]
    x_most = min(0.95, max([1.6 * max(least), 0.02, *(1.15 * mark[1] for mark in marks)]))
    y_most = min(1.0, max([1.6 * max(least), 0.02, *(1.15 * mark[2] for mark in marks)]))
    chart = Chart(Axis(0.0, x_most), Axis(0.0, y_most), height=260, shares="xy")
    strength = np.linspace(x_most / 400, x_most, 400)
    limit = scale * math.sqrt(least[1] ** 2 / (1 - least[1]))
    for series, bias in enumerate((size, size / 2, limit)):
        if bias > 0:
            needed = (bias / scale) ** 2 * (1 - strength) / strength
            inside = needed <= y_most
            chart.curve(strength[inside].tolist(), needed[inside].tolist(), series)
    together: dict[tuple[int, int], list[str]] = {}
    for name, x, y in marks:
        chart.point(x, y, f"{name}: {percent(x)} of the weights, {percent(y)} of the responses", "benchmark", 5)
        together.setdefault((round(20 * x / x_most), round(15 * y / y_most)), []).append(str(name))
    for (x, y), names in together.items():  # names of points that would cover each other share a line
        chart.text(x * x_most / 20, y * y_most / 15 + y_most / 20, _short(", ".join(names), 40))
    label = "Strengths of a hidden confounder at which nothing, or half, is left of the difference."
    vertical = "share of the unexplained variation of the responses"
    return chart.render(label, "share of the variance of the weights", vertical)


def _short(name: str, length: int = 24) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
