"""Assembly of the page: the content of each section is decided here, its appearance in the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from causalopt.durable import write_text
from causalopt.messages import readable
from causalopt.report import plots, text
from causalopt.report.load import RunFiles, load_run

SHOWN_SAMPLES = 12
NUISANCE_LABELS = {
    "outcome_model": "Outcome model",
    "assignment_model": "Assignment model",
    "observation_model": "Model of who responds",
    "response_rate": "Share of rows with an outcome",
    "observation_truncated_mass": "Share of the mass of 1 / p(response) cut by truncation",
    "rarely_observed_rows": "Share of rows whose readers hardly ever respond",
    "outcome_r2": "Outcome model: held-out R²",
    "truncated_mass": "Share of weight mass cut by truncation",
    "weight_max": "Largest stabilized weight",
}
DRAW = """
document.documentElement.classList.add("drawn");
for (const script of document.querySelectorAll("script[data-plot]")) {
  const figure = JSON.parse(script.textContent);
  const target = document.getElementById(script.dataset.plot);
  Plotly.newPlot(target, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}
"""


def write_report(run_directory: Path) -> Path:
    """Write ``report.html`` to a finished run's directory, from the files of that directory alone.

    The page is a single file that needs no network; its texts and tables can be read without JavaScript.

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
        loader=jinja2.PackageLoader("causalopt", "report"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=text.number, percent=text.percent, interval=text.interval)
    page = environment.get_template("template.html.j2").render(**_context(run))
    path = run.directory / "report.html"
    # A lone surrogate, which JSON allows, has no UTF-8 encoding; it is shown as "?" instead of raising an error.
    write_text(path, page.encode(errors="replace").decode())
    return path


def _context(run: RunFiles) -> dict[str, Any]:
    metrics = run.metrics
    plotly_js = get_plotlyjs()
    return {
        "run": run,
        "name": run.directory.resolve().name,
        "metrics": metrics,
        "manifest": run.manifest,
        "plots": _plots(run),
        "headline": text.headline(metrics),
        "outlook": text.outlook(metrics),
        "answer": text.answer(metrics),
        "outcome": text.outcome_of(metrics),
        "level": text.level_of(metrics),
        "covers": text.covers,
        "truths": _truths(metrics),
        "assumptions": text.assumptions(metrics),
        "estimates": _by_estimator(metrics),
        "gains": _gains(metrics),
        "nonresponse": text.nonresponse(metrics),
        "nuisance": _nuisance(metrics),
        "weights": _quantiles({"s": run.pseudo_outcomes["s"]})["s"],
        "randomized": bool((run.pseudo_outcomes["s"] == 1.0).all()),
        "samples": _samples(run),
        "several_trained": run.training is not None and len(_by_policy(run.training)) > 1,
        "plotly_js": Markup(plotly_js),
        "draw_js": Markup(DRAW),
        # Only these two scripts may run, so that markup that was not escaped would still be inert.
        "script_hashes": Markup(" ".join(f"'sha256-{_digest(script)}'" for script in (plotly_js, DRAW))),
    }


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plots(run: RunFiles) -> dict[str, Markup]:
    metrics, value = run.metrics, run.metrics["value"]
    outcome, truth = text.outcome_of(metrics), metrics.get("truth") or {}
    models = {"Reference model": "reference", "Optimised model": "policy"}
    figures = {
        "values": plots.intervals(
            {label: value[key] for label, key in models.items()},
            outcome,
            truth={label: truth[key] for label, key in models.items() if truth.get(key) is not None},
        )
    }
    gain = _true_gain(truth)
    axis = f"difference in {metrics['outcome']}"
    differences = {name: part["difference"] for name, part in _by_estimator(metrics).items() if "difference" in part}
    differences = differences or {value["difference"].get("estimator", "difference"): value["difference"]}
    true_differences = {} if gain is None else dict.fromkeys(differences, gain)
    figures["differences"] = plots.intervals(differences, axis, truth=true_differences, zero=True)
    if gains := {one["group"]: one["part"] for one in _gains(metrics) if one["part"] is not None}:
        figures["groups"] = plots.intervals(gains, axis, truth={}, zero=True)
    path = metrics.get("frontier") or {}
    if any(point["gain"] is not None for point in path.get("points", [])):
        shown = [point for point in path["points"] if point.get("correlation") == path.get("correlation")]
        figures["frontier"] = plots.frontier(shown, axis, gain)
    weights = run.pseudo_outcomes["s"].to_numpy(dtype=np.float64)
    if (weights != 1.0).any():
        figures["weights"] = plots.histogram({"weights": weights}, "stabilized weight s(x, w)")
    if run.samples is not None and len(run.samples):
        groups = {name: rows["g"].to_numpy(dtype=np.float64) for name, rows in _by_policy(run.samples).items()}
        figures["samples"] = plots.histogram(groups, f"dose response g, in {metrics['outcome']}")
    if others := metrics.get("comparisons"):
        this_run = str(metrics.get("objective", "this run"))
        compared = {this_run: value["difference"]} | {
            name: part["value"]["difference"] for name, part in others.items()
        }
        gains = {this_run: gain} | {name: _true_gain(part.get("truth")) for name, part in others.items()}
        known = {name: true for name, true in gains.items() if true is not None}
        figures["comparisons"] = plots.intervals(compared, axis, truth=known, zero=True)
    if run.training is not None and (keys := _curve_keys(run.training)):
        figures["training"] = plots.curves(_by_policy(run.training), keys)
    return {name: _embedded(figure) for name, figure in figures.items()}


def _embedded(figure: go.Figure) -> Markup:
    """Figure as JSON that cannot close the script element that contains it."""
    return Markup(figure.to_json().replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _truths(metrics: Mapping[str, Any]) -> list[tuple[str, float, Any]]:
    """Rows of label, true value and its estimate; empty without a simulated world."""
    truth, value = metrics.get("truth") or {}, metrics["value"]
    rows = [
        ("Reference model", truth.get("reference"), value["reference"]),
        ("Optimised model", truth.get("policy"), value["policy"]),
        ("Difference", _true_gain(truth), value["difference"]),
    ]
    return [(label, actual, part) for label, actual, part in rows if actual is not None]


def _true_gain(truth: Mapping[str, Any] | None) -> float | None:
    if not truth or truth.get("policy") is None or truth.get("reference") is None:
        return None
    return float(truth["policy"] - truth["reference"])


def _curve_keys(training: pd.DataFrame) -> list[str]:
    """Numeric columns that vary, with the loss and the KL first; at most four."""
    columns = training.drop(columns=["step", "epoch"], errors="ignore").select_dtypes("number")
    varying = [str(key) for key in columns if columns[key].max() > columns[key].min()]
    return sorted(varying, key=lambda key: ("loss" not in key, "kl" not in key))[:4]


def _by_policy(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of each policy: the reference, the optimised policy, then the comparisons."""
    labels = {"reference": "reference", "policy": "optimised"}
    present = list(dict.fromkeys(table["policy"]))
    names = [name for name in labels if name in present] + [name for name in present if name not in labels]
    return {labels.get(name, str(name)): table[table["policy"] == name] for name in names}


def _quantiles(groups: Mapping[str, pd.Series[float]]) -> dict[str, list[tuple[str, float]]]:
    shown = {"Least": 0.0, "5th percentile": 0.05, "Median": 0.5, "95th percentile": 0.95, "Greatest": 1.0}
    return {
        name: [("Mean", float(values.mean())), *((label, float(values.quantile(q))) for label, q in shown.items())]
        for name, values in groups.items()
    }


def _by_estimator(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for part in metrics.get("estimates") or []:
        table.setdefault(part["estimator"], {})[part["quantity"]] = part
    return table


def _gains(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gain of each group of readers, with estimate and interval as ``part``; None for a group without an estimate."""
    rows = (metrics.get("groups") or {}).get("gains") or []
    return [{**row, "part": None if row["gain"] is None else {"estimate": row["gain"], **row}} for row in rows]


def _nuisance(metrics: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    scores = metrics.get("nuisance") or {}
    train, test = (scores.get(side) or {} for side in ("train", "test"))
    keys = dict.fromkeys([*train, *test])
    return [(NUISANCE_LABELS.get(key, key.replace("_", " ")), train.get(key), test.get(key)) for key in keys]


def _samples(run: RunFiles) -> dict[str, Any] | None:
    """Texts of the reference and of the policy at evenly spaced ranks of g, best first, so that none is hand-picked."""
    if run.samples is None or run.samples.empty:
        return None
    columns = {}
    for name in ("reference", "policy"):
        rows = run.samples[run.samples["policy"] == name]
        ranked = rows.sort_values("g", ascending=run.metrics["direction"] == "minimize", kind="stable")
        picks = np.unique(np.linspace(0, len(ranked) - 1, min(SHOWN_SAMPLES, len(ranked))).round().astype(int))
        shown = ranked.iloc[picks].astype(object)
        if "prompt" in shown:
            shown["prompt"] = [readable(prompt) if isinstance(prompt, str) else None for prompt in shown["prompt"]]
        columns[name] = shown.where(shown.notna(), None).to_dict("records")
    length = max(map(len, columns.values()))
    pairs = [tuple(column[i] if i < len(column) else None for column in columns.values()) for i in range(length)]
    groups = {name: rows["g"] for name, rows in _by_policy(run.samples).items()}
    return {"pairs": pairs, "quantiles": _quantiles(groups), "total": len(run.samples)}
