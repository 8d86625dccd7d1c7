"""The three answers of an evaluation, each a line of words: what a terminal closes with.

Every technical word in them is explained in docs/glossary.md, which a test holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Answers:
    """The answers to the three questions.

    Attributes
    ----------
    value:
        What would happen if everybody read texts from this model.
    evidence:
        Whether the data can answer that.
    model:
        The better model: what it is and where.
    beside:
        Further lines: comparisons with other policies of the run.
    """

    value: str
    evidence: str
    model: str
    beside: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """All lines, the three answers numbered."""
        numbered = [f"{number}. {line}" for number, line in enumerate((self.value, self.evidence, self.model), start=1)]
        return [*numbered, *self.beside]


def answers(metrics: Metrics, directory: Path | None = None) -> Answers:
    """Answer the three questions from the numbers of a run, or of an evaluation.

    Parameters
    ----------
    metrics:
        The content of ``metrics.json``, or what `causalopt estimate`, `evaluate` and `compare` found.
    directory:
        The run, whose policy is the better model; None for an evaluation, which makes no model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from causalopt.run.answers import answers
    >>> part = {"estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75}
    >>> metrics = {"outcome": "rating", "level": 0.95, "outlook": "better", "thin": False, "barred": [], "kl": 0.25,
    ...            "value": {"reference": {"estimate": 3.0}, "policy": {"estimate": 3.5}, "difference": part},
    ...            "overlap": {"ess": 80.4, "clusters": 120, "unit": "texts", "n": 400}, "reasons": []}
    >>> for line in answers(metrics, Path("runs/survey")).lines():
    ...     print(line)
    1. If everybody read texts from this model, rating would be 3.5 and not 3 as with the reference: a difference of \
+0.5 (95% interval +0.25 to +0.75). The model is better.
    2. The data can answer that: 80 of 120 logged texts count for this model.
    3. The better model is in runs/survey/policy, 0.25 nats (KL) from the reference.
    """
    return Answers(
        value=_value(metrics),
        evidence=_evidence(metrics),
        model=_evaluated(metrics) if directory is None else _model(metrics, directory),
        beside=tuple(_comparison(name, found, metrics) for name, found in metrics.get("comparisons", {}).items()),
    )


def _is_reference(metrics: Metrics) -> bool:
    """Whether the choice of how far to go was not to go at all."""
    found = metrics.get("frontier")
    return found is not None and not found["chosen"]


def _interval(part: Mapping[str, float], level: float) -> str:
    return f"{part['estimate']:+.3g} ({100 * level:g}% interval {part['ci_low']:+.3g} to {part['ci_high']:+.3g})"


def _value(metrics: Metrics) -> str:
    value, truth = metrics["value"], metrics.get("truth")
    if _is_reference(metrics):
        return (
            f"If everybody read texts from this model, {metrics['outcome']} would be "
            f"{value['reference']['estimate']:.4g}: it is the reference, since nothing was shown to be better."
        )
    conclusion = {"better": "The model is better.", "worse": "The model is worse."}.get(
        metrics["outlook"], "Whether it is better or worse is not shown."
    )
    said = (
        f"If everybody read texts from this model, {metrics['outcome']} would be {value['policy']['estimate']:.4g} and "
        f"not {value['reference']['estimate']:.4g} as with the reference: a difference of "
        f"{_interval(value['difference'], metrics['level'])}. {conclusion}"
    )
    if metrics.get("groups"):
        said += f" {metrics['groups']['sentence']}"
    if truth:
        said += f" (In this simulated world the true difference is {truth['difference']:+.3g}.)"
    return said


def _evidence(metrics: Metrics) -> str:
    overlap = metrics["overlap"]
    if metrics["barred"]:
        said = f"The data cannot answer that: {' '.join(metrics['barred'])}"
    elif metrics["thin"]:
        said = f"The data answer that with little certainty. {metrics['reasons'][0]}"
    else:
        said = (
            f"The data can answer that: {overlap['ess']:.0f} of {overlap['clusters']:,} logged {overlap['unit']} count "
            "for this model."
        )
    notes = metrics["reasons"][len(metrics["barred"]) + bool(metrics["thin"]) :]
    return " ".join([said, *notes, *_sensitivity(metrics)])


def _sensitivity(metrics: Metrics) -> list[str]:
    """Say how strong a hidden cause would have to be to undo a conclusion; nothing where there is none."""
    if metrics["outlook"] == "unclear":
        return []
    covariates = metrics.get("data", {}).get("covariates")
    strength = metrics.get("evidence", {}).get("robustness_value_interval")
    if covariates == []:
        return ["Without covariates this holds if texts were shown at random."]
    if not covariates or strength is None:
        return []
    return [
        f"A hidden cause of both reading and responding would have to explain {100 * strength:.2g}% of what is left "
        "unexplained in each to undo it."
    ]


def _model(metrics: Metrics, directory: Path) -> str:
    policy = directory / "policy"
    if _is_reference(metrics):
        return f"No better model was found: {policy} is the reference itself."
    away = "" if metrics.get("kl") is None else f", {metrics['kl']:.2g} nats (KL) from the reference"
    if metrics["outlook"] == "better":
        return f"The better model is in {policy}{away}."
    if metrics["outlook"] == "worse":
        return f"Keep the reference, which is in {directory / 'reference'}; the worse model is in {policy}{away}."
    return f"The model is in {policy}{away}; it is not shown to be better than the reference."


def _evaluated(metrics: Metrics) -> str:
    policies = metrics["policies"]
    away = "" if metrics.get("kl") is None else f", {metrics['kl']:.2g} nats (KL) apart"
    return f"The model is {policies['policy']}, and the reference {policies['reference']}{away}."


def _comparison(name: str, found: Metrics, metrics: Metrics) -> str:
    truth = found.get("truth")
    said = f"   Compared with the reference, {name}: {_interval(found['value']['difference'], metrics['level'])}."
    return said + (f" (True: {truth['difference']:+.3g}.)" if truth else "")
