"""One paragraph that a reader of no statistics can act on."""

from __future__ import annotations

from typing import Literal

from causalopt.evaluation.estimate import Estimate
from causalopt.evaluation.overlap import Overlap

THIN_FRACTION = 0.1
TOO_FEW = 30.0
"""Effective sample size under which no finding is drawn: the interval rests on a central limit theorem."""
THIN_SIZE = 100.0
HEAVY_TAIL = 0.7


def thin_overlap(overlap: Overlap) -> str | None:
    """Say in words why the logged texts cannot carry the answer, or None when they can.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import overlap, thin_overlap
    >>> thin_overlap(overlap(np.zeros(500))) is None
    True
    >>> thin_overlap(overlap(np.linspace(0, 60, 500)))
    'Overlap is thin: 500 logged texts say as much about this policy as 17 texts of its own would.'
    """
    if overlap.ess_fraction < THIN_FRACTION or overlap.ess < min(THIN_SIZE, overlap.n / 2):
        return (
            f"Overlap is thin: {overlap.n} logged texts say as much about this policy as "
            f"{overlap.ess:.0f} texts of its own would."
        )
    if overlap.pareto_k > HEAVY_TAIL:
        return (
            f"Overlap is thin: a few logged texts carry the answer (tail shape {overlap.pareto_k:.2f}, where above "
            f"{HEAVY_TAIL} an interval cannot be trusted)."
        )
    return None


def verdict(
    difference: Estimate,
    overlap: Overlap,
    *,
    outcome: str = "outcome",
    direction: Literal["maximize", "minimize"] = "maximize",
    level: float = 0.95,
    robustness_value: float | None = None,
    reference: str = "the reference",
) -> str:
    """Say whether the policy is better than the reference, how sure that is, and what it stands on.

    Parameters
    ----------
    difference:
        Policy minus reference, outcome units (not negated when smaller is better).
    overlap:
        Of the policy's weights; when it is thin that is said first, and with an effective sample size under 30 the
        interval decides nothing.
    outcome:
        Name of the outcome.
    direction:
        Whether larger or smaller is better.
    level:
        Of the interval.
    robustness_value:
        From `Sensitivity.robustness_value`, or None where texts were randomised.
    reference:
        What the sentence calls whom the policy is compared with.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import Estimate, overlap, verdict
    >>> difference = Estimate(1.0, np.array([0.5, -0.5] * 50))
    >>> verdict(difference, overlap(np.zeros(100)), outcome="rating").split(": ")[0]
    'The policy is better than the reference'
    """
    low, high = difference.confint(level)
    sign = 1 if direction == "maximize" else -1
    inconclusive = low <= 0 <= high or overlap.ess < TOO_FEW
    if inconclusive:
        finding = f"The data do not tell whether the policy is better or worse than {reference}"
    elif sign * difference.value > 0:
        finding = f"The policy is better than {reference}"
    else:
        finding = f"The policy is worse than {reference}"
    sentences = [
        f"{finding}: everybody reading its texts would move {outcome} by {difference.value:+.4g} "
        f"({100 * level:g}% interval {low:+.4g} to {high:+.4g})."
    ]
    thin = thin_overlap(overlap)
    if thin is not None:
        sentences.insert(0, thin)
    if overlap.ess < TOO_FEW:
        sentences.append(f"An interval that rests on fewer than {TOO_FEW:.0f} effective texts is not to be relied on.")
    if robustness_value is not None and not inconclusive:
        sentences.append(
            f"A hidden cause of both reading and responding would have to explain {100 * robustness_value:.1f}% "
            "of what is left unexplained in each to undo this."
        )
    return " ".join(sentences)
