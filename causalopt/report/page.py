"""Assembly of the page: the content of each section is decided here, its appearance in the templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from causalopt import digits
from causalopt.diagnostics.verdict import TOO_FEW, thin_below
from causalopt.durable import write_text
from causalopt.report import plots, svg, text
from causalopt.report.glossary import GLOSSARY
from causalopt.report.load import RunFiles, load_run
from causalopt.report.samples import MOST_CHARACTERS, shown_samples
from causalopt.report.tables import by_estimator, by_policy, gains, nuisance, quantiles, true_gain, truths

MOST_SETTINGS = 60_000
"""Characters of the configuration on the page; all of it is in ``config.yaml``."""


def write_report(run_directory: Path) -> Path:
    """Write ``report.html`` to a finished run's directory, from the files of that directory alone.

    The page is a single file that needs no network; all but search and sorting works without JavaScript.

    Parameters
    ----------
    run_directory
        A directory written by `causalopt run`. ``samples.parquet`` and ``training.jsonl`` may be missing, and in
        ``metrics.json`` everything except the outcome, its direction and the three values. Missing parts are left out.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        If a file is missing or malformed; the message is one line that names it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from causalopt.report import write_report
    >>> write_report(Path("no/such/run"))
    Traceback (most recent call last):
        ...
    causalopt.errors.DataError: no/such/run: there is no such run directory; give a directory written by `causalopt run`
    """
    run = load_run(Path(run_directory))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("causalopt", "report/templates"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=digits.number,
        percent=digits.percent,
        interval=digits.interval,
        change=digits.change,
        alike=digits.alike,
    )
    page = environment.get_template("report.html.j2").render(**_context(run))
    path = run.directory / "report.html"
    # A lone surrogate, which JSON allows, has no UTF-8 encoding; it is shown as "?" instead of raising an error.
    write_text(path, page.encode(errors="replace").decode())
    return path


def _context(run: RunFiles) -> dict[str, Any]:
    metrics = run.metrics
    script = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    weights = run.pseudo_outcomes["s"]
    samples = None if run.samples is None or run.samples.empty else run.samples
    return {
        "run": run,
        "name": run.directory.resolve().name,
        "metrics": metrics,
        "manifest": run.manifest,
        "settings": _shortened(run.config),
        "conclusion": text.conclusion(metrics),
        "outlook": text.outlook(metrics),
        "cautions": text.cautions(metrics),
        "dropped": text.dropped(metrics),
        "answer": text.answer(metrics),
        "moved": text.moved(metrics),
        "enough": text.enough(metrics),
        "robust": text.sensitive(metrics),
        "model": text.model(metrics),
        "stays": text.stays(metrics),
        "outcome": text.outcome_of(metrics),
        "level": text.level_of(metrics),
        "covers": text.covers,
        "truths": truths(metrics),
        "true_gain": true_gain(metrics.get("truth")),
        "assumptions": text.assumptions(metrics),
        "estimates": by_estimator(metrics),
        "gains": gains(metrics),
        "nonresponse": text.nonresponse(metrics),
        "nuisance": nuisance(metrics),
        "weights": quantiles({"s": weights})["s"],
        "randomized": bool((weights == 1.0).all()),
        "samples": None if samples is None else shown_samples(samples, metrics["direction"]),
        "scores": None if samples is None else quantiles({name: r["g"] for name, r in by_policy(samples).items()}),
        "most_characters": MOST_CHARACTERS,
        "glossary": GLOSSARY,
        "plots": _plots(run),
        "bars": _bars(metrics),
        "gauge": _gauge(metrics),
        "style": Markup(_file("report.css")),
        "script": Markup(script),
        # Only this script may run, so that markup that was not escaped would still be inert.
        "script_hash": Markup("'sha256-{}'").format(digest),
    }


def _file(name: str) -> str:
    return resources.files("causalopt.report").joinpath("templates", name).read_text(encoding="utf-8")


def _shortened(settings: str) -> str:
    if len(settings) <= MOST_SETTINGS:
        return settings
    return f"{settings[:MOST_SETTINGS]}\n[…] The rest is in config.yaml."


def _plots(run: RunFiles) -> dict[str, Any]:
    """Charts by name; "training" has a list of charts for each fit."""
    metrics = run.metrics
    axis = f"difference in {metrics['outcome']}"
    found: dict[str, Any] = {}
    path = metrics.get("frontier") or {}
    if any(point["gain"] is not None for point in path.get("points", [])):
        shown = [point for point in path["points"] if point.get("correlation") == path.get("correlation")]
        found["frontier"] = plots.frontier(shown, axis, true_gain(metrics.get("truth")))
    weights = run.pseudo_outcomes["s"].to_numpy(dtype=np.float64)
    if (weights != 1.0).any():
        words = "Histogram of the stabilized weights; its quantiles are in the table."
        found["weights"] = plots.histogram({"weights": weights}, "stabilized weight s(x, w)", words)
    if run.samples is not None and len(run.samples):
        groups = {name: rows["g"].to_numpy(dtype=np.float64) for name, rows in by_policy(run.samples).items()}
        words = "Distribution of the score over the texts of each model; its quantiles are in the table."
        found["samples"] = plots.histogram(groups, f"score, in {metrics['outcome']}", words)
    evidence = metrics.get("evidence") or {}
    known = ("max_bias", "robustness_value", "robustness_value_interval")
    if all(isinstance(evidence.get(key), int | float) for key in known) and evidence["max_bias"] > 0:
        found["contour"] = plots.contour(evidence, metrics["value"]["difference"])
    if run.training is not None and (charts := _training(run.training)):
        found["training"] = charts
    return found


STAGES = {"reference": "tuning on the logged texts", "policy": "training"}


def _training(training: pd.DataFrame) -> list[tuple[str, int, list[Markup]]]:
    """Name of each fit, with its stage, its number of steps and its charts."""
    charts = []
    for name, rows in by_policy(training).items():
        for stage, logged in rows.groupby("stage", sort=False):
            title = f"{name}: {STAGES.get(str(stage), stage)}" if stage else str(name)
            curves = [plots.curve(logged, key, f"{key} of {title} over its steps.") for key in _curve_keys(logged)]
            if curves:
                charts.append((title, len(logged), curves))
    return charts


def _curve_keys(training: pd.DataFrame) -> list[str]:
    """Numeric columns that vary, with the loss and the KL first; at most four."""
    columns = training.drop(columns=["step", "epoch", "num_tokens"], errors="ignore").select_dtypes("number")
    varying = [str(key) for key in columns if columns[key].max() > columns[key].min()]
    return sorted(varying, key=lambda key: ("loss" not in key, "kl" not in key))[:4]


Bars = tuple[Markup, Callable[[Mapping[str, Any], float | None], Markup]]


def _bars(metrics: Mapping[str, Any]) -> dict[str, Bars]:
    """For each table with intervals: the scale below its bars, and the drawing of a bar."""
    value, truth = metrics["value"], metrics.get("truth") or {}
    gain = true_gain(truth)
    compared = [part["value"]["difference"] for part in (metrics.get("comparisons") or {}).values()]
    true_gains = [true_gain(part.get("truth")) for part in (metrics.get("comparisons") or {}).values()]
    by_name = by_estimator(metrics)
    effects = (metrics.get("attributes") or {}).get("effects", [])
    differences = [row["difference"] for row in by_name.values() if "difference" in row]
    models = [value["reference"], value["policy"]]
    return {
        "values": _bar(models, [truth.get("reference"), truth.get("policy")], zero=False),
        "difference": _bar([value["difference"]], []),
        "estimators": _bar([value["difference"], *differences], [gain]),
        "groups": _bar([one["part"] for one in gains(metrics) if one["part"] is not None], []),
        "comparisons": _bar([value["difference"], *compared], [gain, *true_gains]),
        "attributes": _bar([one[kind] for one in effects for kind in ("adjusted", "naive")], []),
    }


def _bar(parts: list[Mapping[str, Any]], truth: list[float | None], *, zero: bool = True) -> Bars:
    ends = [float(part[key]) for part in parts for key in ("ci_low", "estimate", "ci_high")]
    axis = svg.Axis.over([*ends, *(float(one) for one in truth if one is not None), *([0.0] if zero else [])])

    def draw(part: Mapping[str, Any], true: float | None = None) -> Markup:
        return svg.interval_bar(
            float(part["ci_low"]), float(part["estimate"]), float(part["ci_high"]), axis, truth=true
        )

    return svg.interval_scale(axis), draw


def _gauge(metrics: Mapping[str, Any]) -> Markup | None:
    said = text.enough(metrics)
    if said is None:
        return None
    overlap = metrics["overlap"]
    clusters = int(overlap["clusters"])
    zones = [(TOO_FEW, "few"), (thin_below(clusters), "thin"), (float(clusters), "enough")]
    return svg.gauge(float(overlap["ess"]), float(clusters), zones, said)
