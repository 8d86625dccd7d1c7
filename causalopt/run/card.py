"""The evidence of a run in its policy's model card, as it stands on a model hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalopt import digits
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.report import text

HEADING = "## Evidence"


def with_evidence(card: str, evidence: str) -> str:
    r"""Return a model card with the evidence at its end, in the place of an earlier run's.

    Examples
    --------
    >>> from causalopt.run.card import with_evidence
    >>> once = with_evidence("# A policy\n", "## Evidence\n\nold\n")
    >>> with_evidence(once, "## Evidence\n\nnew\n")
    '# A policy\n\n## Evidence\n\nnew\n'
    """
    own = card.partition(f"\n{HEADING}\n")[0]
    return f"{own.rstrip()}\n\n{evidence}"


def evidence_of(
    metrics: Mapping[str, Any], rows: Mapping[str, DirectOutcomeDataset], fingerprints: Mapping[str, str]
) -> str:
    """Say in Markdown what a run found out about its policy, on which data, and on what this rests.

    Parameters
    ----------
    metrics:
        The content of ``metrics.json``.
    rows, fingerprints:
        The data sets of the run by name. Of a file, the card has the name, sizes and fingerprints, and no path.
    """
    overlap, level = metrics["overlap"], text.level_of(metrics)
    size = digits.number(float(overlap["ess"]))
    value = {name: digits.interval(metrics["value"][name]) for name in ("reference", "policy", "difference")}
    kl = "" if metrics["kl"] is None else f" KL(policy || reference): {digits.number(metrics['kl'])} nats."
    return "\n".join(
        [
            HEADING,
            "",
            text.headline(metrics),
            "",
            f"**Estimand.** The mean of {text.outcome_of(metrics)} if everybody read texts from this policy, and its "
            f"difference to the reference from which the policy was optimised. {metrics['population']['sentence']}",
            "",
            f"| | estimate ({metrics['estimator']}) | {level} interval |",
            "|---|---|---|",
            *(f"| {name} | {estimate} | {low} to {high} |" for name, (estimate, low, high) in value.items()),
            "",
            *_bounds(metrics),
            f"**Overlap.** {size} effective of {overlap['clusters']:,} {overlap['unit']}"
            f"{', which is thin' if metrics['thin'] else ''}.{kl}",
            "",
            "**Data.**",
            "",
            *(f"* {name} {_described(data)}, fingerprint `{fingerprints[name]}`" for name, data in rows.items()),
            "",
            "**Assumptions.**",
            "",
            *(f"* {term}: {meaning}" for term, meaning in text.assumptions(metrics)),
            "",
        ]
    )


def _bounds(metrics: Mapping[str, Any]) -> list[str]:
    """Say whether the policy keeps the bounds on other outcomes; nothing without any."""
    said = [str(one["sentence"]) for one in metrics.get("constraints") or []]
    return [f"**Bounds.** {' '.join(said)}", ""] if said else []


def _described(data: DirectOutcomeDataset) -> str:
    return f"rows: {len(data):,}, distinct texts: {len(set(data.texts)):,}, from `{Path(data.source).name}`"
