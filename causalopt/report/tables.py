"""The rows of the report's tables, for the page and for Markdown alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

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
"""What is measured of the nuisance models, as a table names it."""


def truths(metrics: Mapping[str, Any]) -> list[tuple[str, float, Any]]:
    """Rows of label, true value and its estimate; empty without a simulated world."""
    truth, value = metrics.get("truth") or {}, metrics["value"]
    rows = [
        ("Reference model", truth.get("reference"), value["reference"]),
        ("Optimised model", truth.get("policy"), value["policy"]),
        ("Difference", true_gain(truth), value["difference"]),
    ]
    return [(label, actual, part) for label, actual, part in rows if actual is not None]


def true_gain(truth: Mapping[str, Any] | None) -> float | None:
    """Return the true difference of policy and reference; None if it is not known."""
    if not truth or truth.get("policy") is None or truth.get("reference") is None:
        return None
    return float(truth["policy"] - truth["reference"])


def by_policy(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of each policy: the reference, the optimised policy, then the comparisons."""
    labels = {"reference": "reference", "policy": "optimised"}
    present = list(dict.fromkeys(table["policy"]))
    names = [name for name in labels if name in present] + [name for name in present if name not in labels]
    return {labels.get(name, str(name)): table[table["policy"] == name] for name in names}


def quantiles(groups: Mapping[str, pd.Series[float]]) -> dict[str, list[tuple[str, float]]]:
    """Mean and five quantiles of each group, each with its label."""
    shown = {"Least": 0.0, "5th percentile": 0.05, "Median": 0.5, "95th percentile": 0.95, "Greatest": 1.0}
    return {
        name: [("Mean", float(values.mean())), *((label, float(values.quantile(q))) for label, q in shown.items())]
        for name, values in groups.items()
    }


def by_estimator(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For each estimator its estimates of the three quantities, by their names."""
    table: dict[str, dict[str, Any]] = {}
    for part in metrics.get("estimates") or []:
        table.setdefault(part["estimator"], {})[part["quantity"]] = part
    return table


def gains(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gain of each group of readers, with estimate and interval as ``part``; None for a group without an estimate."""
    rows = (metrics.get("groups") or {}).get("gains") or []
    return [{**row, "part": None if row["gain"] is None else {"estimate": row["gain"], **row}} for row in rows]


def nuisance(metrics: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Rows of label, and the measures of the models fitted on training and on held-out rows."""
    scores = metrics.get("nuisance") or {}
    train, test = (scores.get(side) or {} for side in ("train", "test"))
    keys = dict.fromkeys([*train, *test])
    return [(NUISANCE_LABELS.get(key, key.replace("_", " ")), train.get(key), test.get(key)) for key in keys]
