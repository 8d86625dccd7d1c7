"""Draw the pictures of concepts.md from simulated worlds: python docs/pictures.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import causalopt as co
from causalopt.evaluation import dr, riesz_representer, sensitivity, snipw
from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt

BLUE, ORANGE, GREY = "#1f5a94", "#c2570c", "#6b6b6b"
STYLE = {
    "svg.fonttype": "none",  # words stay words, which can be read aloud and searched
    "svg.hashsalt": "causalopt",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
ROWS = 1000
"""Rows of a table, where effective rows are counted."""


def confounding() -> dict[str, Any]:
    """Compute what every sentence of the template world is worth, and the mean response of those who were shown it."""
    world = co.simulation.TemplateWorld(confounding=1.0)
    probability = np.exp(world.log_assignment)  # p(x | w): readers by sentences
    of_sentence = probability / probability.sum(axis=0)
    raw = (of_sentence * world.outcome_mean).sum(axis=0)
    worth, share = world.dose_response, probability.mean(axis=0)
    slope = np.cov(worth, raw, aweights=share)[0, 1] / np.cov(worth, raw, aweights=share)[0, 0]
    engagement = of_sentence.T @ world.readers["engagement"].to_numpy()
    return {"worth": worth, "raw": raw, "slope": float(slope), "engagement": engagement, "share": share}


def draw_confounding(found: dict[str, Any]) -> Figure:
    """Draw a dot for each sentence."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    worth, raw = found["worth"], found["raw"]
    dots = axes.scatter(worth, raw, c=found["engagement"], s=7, cmap="cividis", linewidths=0, rasterized=True)
    ends = np.array([worth.min(), worth.max()])
    middle = np.average(worth, weights=found["share"]), np.average(raw, weights=found["share"])
    axes.plot(ends, middle[1] + found["slope"] * (ends - middle[0]), color=ORANGE, lw=2)
    axes.plot(ends, ends, color=GREY, lw=1.2, ls="--")
    axes.annotate("if sentences were\nshown at random", (ends[1], ends[1]), (2, -82), **_note("right", "top", GREY))
    low = middle[1] + found["slope"] * (ends[0] - middle[0])
    axes.annotate("what the raw means say", (ends[0], low), (0, 28), **_note("left", "bottom", ORANGE))
    axes.set_xlabel("mean response if everybody read the sentence")
    axes.set_ylabel("mean response of those\nwho were shown it")
    figure.colorbar(dots, label="engagement of those who were shown it")
    return figure


def overlap() -> dict[str, Any]:
    """Compute the logged sentences and those of policies at three distances, by what they are worth."""
    world = co.simulation.TemplateWorld(confounding=0.0)
    worth, logged = world.dose_response, world.log_behavior
    found: dict[str, Any] = {"worth": worth, "logged": np.exp(logged), "policies": {}}
    for kl in (0.25, 1.0, 3.0):
        log_prob = tilt(logged, worth, temperature_at(logged, worth, kl))
        effective = ROWS / float(np.exp(2 * log_prob - logged).sum())
        found["policies"][kl] = {"probability": np.exp(log_prob), "effective": effective}
    return found


def draw_overlap(found: dict[str, Any]) -> Figure:
    """Draw a panel for each distance."""
    figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
    edges = np.linspace(found["worth"].min(), found["worth"].max(), 31)
    for axes, (kl, policy) in zip(panels, found["policies"].items(), strict=True):
        axes.hist(found["worth"], edges, weights=found["logged"], color=GREY, alpha=0.45, label="logged")
        axes.hist(
            found["worth"], edges, weights=policy["probability"], histtype="step", color=BLUE, lw=2, label="policy"
        )
        axes.set_title(f"{kl:g} nats\n1,000 rows count as {policy['effective']:.0f}", fontsize=11)
        axes.set_xlabel("worth of the sentence")
    panels[0].set_ylabel("share of the sentences")
    panels[0].legend(frameon=False, loc="upper left", fontsize=10)
    return figure


def intervals(tables: int = 50, rows: int = 500) -> dict[str, Any]:
    """Estimate a difference from many tables of a randomised experiment, each with its interval."""
    world = co.simulation.FiniteWorld(confounding=0.0)
    logged, worth = world.log_behavior, world.dose_response
    log_prob = tilt(logged, worth, temperature_at(logged, worth, 0.25))
    truth = world.value_of(log_prob) - world.value_of(logged)
    estimates = []
    for seed in range(tables):
        _, text, outcome = world.sample_indices(rows, seed)
        difference = snipw((log_prob - logged)[text], outcome) - snipw(np.zeros(rows), outcome)
        estimates.append((difference.value, *difference.confint()))
    frame = np.array(estimates)
    covers = (frame[:, 1] <= truth) & (truth <= frame[:, 2])
    return {"estimates": frame, "truth": truth, "covers": covers, "tables": tables, "rows": rows}


def draw_intervals(found: dict[str, Any]) -> Figure:
    """Draw a line for each table, those that miss in orange."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for i, ((value, low, high), covers) in enumerate(zip(found["estimates"], found["covers"], strict=True)):
        colour = BLUE if covers else ORANGE
        axes.plot([i, i], [low, high], color=colour, lw=1.6)
        axes.plot(i, value, "o", color=colour, ms=3.5)
    ends = [-1, found["tables"]]
    axes.plot(ends, [found["truth"]] * 2, color="black", lw=1)
    axes.plot(ends, [0, 0], color=GREY, lw=1, ls="--")
    axes.text(found["tables"], found["truth"], " truth", va="center")
    axes.text(found["tables"], 0, " no gain", va="center", color=GREY)
    axes.set_xlim(-1, found["tables"] + 5)
    axes.set_xticks([])
    axes.set_xlabel(f"{found['tables']} tables of {found['rows']} rows from the same world")
    axes.set_ylabel("gain, with 95% interval")
    return figure


def hidden() -> dict[str, Any]:
    """Compute how strong a hidden cause would have to be to undo a difference that was found."""
    world = co.simulation.FiniteWorld(confounding=0.3)
    data = world.sample(2000, seed=0)
    logged, worth = world.log_behavior, world.dose_response
    log_prob = tilt(logged, worth, temperature_at(logged, worth, 0.25))
    pseudo = co.PseudoOutcomeEstimator(
        embedder=world.embedder(), outcome_model="ridge", assignment_model="gaussian"
    ).fit_transform(data)
    cell = world.index_of(data.texts)
    g = pseudo.dose_response(world.texts)
    ratio, unit = (log_prob - logged)[cell], np.zeros(len(data))
    estimates = [
        dr(one, pseudo.xi, pseudo.g, float(np.exp(law) @ g)) for one, law in ((ratio, log_prob), (unit, logged))
    ]
    alpha = riesz_representer(ratio, pseudo.s) - riesz_representer(unit, pseudo.s)
    bounds = sensitivity(estimates[0] - estimates[1], pseudo.error, alpha)
    return {
        "bounds": bounds,
        "value": bounds.robustness_value(),
        "limit": bounds.robustness_value(level=0.95),
        "truth": world.value_of(log_prob) - world.value_of(logged),
    }


def draw_hidden(found: dict[str, Any]) -> Figure:
    """Draw the strengths at which the difference, or its interval's end, would be gone."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    bounds, value = found["bounds"], found["value"]
    most = min(1.0, 2.2 * value)
    strength = np.linspace(0, most, 121)
    gone = np.array([[bounds.bounds(y, d).low for d in strength] for y in strength])
    end = np.array([[bounds.bounds(y, d).ci_low for d in strength] for y in strength])
    axes.contourf(strength, strength, gone, [-1e9, 0], colors=[ORANGE], alpha=0.16)
    axes.contour(strength, strength, gone, [0], colors=[ORANGE], linewidths=2)
    axes.contour(strength, strength, end, [0], colors=[BLUE], linewidths=2)
    axes.plot([value], [value], "o", color=ORANGE)
    axes.plot([found["limit"]], [found["limit"]], "o", color=BLUE)
    axes.annotate(f"robustness value {value:.0%}", (value, value), (9, 5), **_note("left", "bottom", ORANGE))
    axes.annotate(
        f"{found['limit']:.0%} for the interval", (found["limit"],) * 2, (-7, -7), **_note("right", "top", BLUE)
    )
    axes.text(0.97 * most, 0.97 * most, "the gain may be none", ha="right", va="top", color=ORANGE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(mpl.ticker.PercentFormatter(1, decimals=0))
    axes.set_xlim(0, most)
    axes.set_ylim(0, most)
    axes.set_xlabel("share of what decides who reads what")
    axes.set_ylabel("share of what is unexplained\nin the response")
    return figure


def frontier(rows: int = 300) -> dict[str, Any]:
    """Follow a path of policies away from the reference, learned on some rows and judged on others."""
    world = co.simulation.FiniteWorld(confounding=0.0)
    logged = world.log_behavior
    fitted = co.PseudoOutcomeEstimator(
        embedder=world.embedder(), outcome_model="ridge", assignment_model="randomized"
    ).fit_transform(world.sample(rows, seed=1))
    reward = fitted.dose_response(world.texts)
    _, text, outcome = world.sample_indices(rows, seed=2)
    points = []
    for kl in np.linspace(0.1, 4.0, 14):
        log_prob = tilt(logged, reward, temperature_at(logged, reward, float(kl)))
        difference = snipw((log_prob - logged)[text], outcome) - snipw(np.zeros(rows), outcome)
        truth = world.value_of(log_prob) - world.value_of(logged)
        bound = difference.confint(0.9)[0]
        points.append((kl_divergence(log_prob, logged), truth, difference.value, *difference.confint(0.9), bound))
    frame = np.array(points)
    chosen = int(np.argmax(frame[:, 5]))
    return {"points": frame, "chosen": chosen, "rows": rows}


def draw_frontier(found: dict[str, Any]) -> Figure:
    """Draw gain against distance, with intervals, truth and the point that is chosen."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    kl, truth, value, low, high, _ = found["points"].T
    axes.fill_between(kl, low, high, color=BLUE, alpha=0.15, lw=0, label="90% interval")
    axes.plot(kl, value, color=BLUE, lw=2, label="estimated gain")
    axes.plot(kl, truth, color="black", lw=1.2, ls="--", label="true gain")
    best = found["chosen"]
    axes.plot(kl[best], low[best], "o", color=ORANGE, ms=7)
    axes.annotate("largest lower end: chosen", (kl[best], low[best]), (0, -14), **_note("center", "top", ORANGE))
    axes.axhline(0, color=GREY, lw=1, ls="--")
    axes.set_xlim(0, kl.max())
    axes.set_xlabel("distance from the reference, nats")
    axes.set_ylabel("gain over the reference")
    axes.legend(frameon=False, loc="upper left", fontsize=10)
    return figure


def _note(ha: str, va: str, colour: str) -> dict[str, Any]:
    return {"textcoords": "offset points", "ha": ha, "va": va, "color": colour}


PICTURES = {
    "confounding": (confounding, draw_confounding),
    "overlap": (overlap, draw_overlap),
    "intervals": (intervals, draw_intervals),
    "hidden": (hidden, draw_hidden),
    "frontier": (frontier, draw_frontier),
}


def write(name: str, found: dict[str, Any], folder: Path) -> Path:
    """Draw a picture as SVG."""
    with mpl.rc_context(STYLE):
        figure = PICTURES[name][1](found)
        path = folder / f"concept-{name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None}, dpi=150)
        plt.close(figure)
    return path


if __name__ == "__main__":
    mpl.use("svg")
    for picture, (compute, _) in PICTURES.items():
        result = compute()
        print(write(picture, result, Path(sys.argv[1])), {k: v for k, v in result.items() if np.isscalar(v)})
