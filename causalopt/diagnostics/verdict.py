"""The conclusion of an evaluation, decided in this module alone, in words for readers who are not statisticians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from causalopt.diagnostics.overlap import Overlap
from causalopt.digits import change, percent, plain
from causalopt.doors import check_choice, check_number, check_strings, check_type
from causalopt.estimators.estimate import Estimate

TOO_FEW = 20.0
"""Effective number of units below which nothing is concluded: the interval relies on a central limit theorem.

Policies at 0.7 to 2.6 nats in eleven generators of `benchmarks/coverage` (seeds 3100 to 3139 and 3200 to 3207, none of
its table): of 675 intervals of `balance` with 20 to 50 effective units 0.979 contained the truth, of 251 with 10 to 20
units 0.972. (30 was the limit before, and 50 that of thin overlap.)"""
THIN_FRACTION = 0.1
THIN_SIZE = 30.0
"""Or a third of the units: a policy that always shows one of two arms keeps half of them."""
MOST_UNBALANCED = 0.25
"""Largest share of what distinguishes two policies that balancing weights may leave out, lest they extrapolate.

Along paths of policies over 1,000 real texts (seeds 300 to 303 of `benchmarks/confounding`, rows set apart) it was 0.08
to 0.2 up to 1.7 nats; where a policy all but repeats a few texts 0.4 to 0.7, and the interval that of a policy nearer
to the logs. (With weights limited to a mean size of 2, and counting what the chosen penalty leaves as well.)"""
HEAVY_TAIL = 0.7

Outlook = Literal["better", "worse", "unclear"]


def thin_below(clusters: int) -> float:
    """Effective number of units below which overlap is thin, for this number of units; see `thin_overlap`.

    Examples
    --------
    >>> from causalopt.diagnostics.verdict import thin_below
    >>> [round(thin_below(clusters), 3) for clusters in (40, 75, 200, 1000)]
    [20.0, 25.0, 30.0, 100.0]
    """
    return max(TOO_FEW, min(THIN_SIZE, clusters / 3), THIN_FRACTION * clusters)


def thin_overlap(overlap: Overlap) -> str | None:
    """Explain in words why overlap is too thin for a conclusion, or return None if it is not.

    Overlap is thin if the effective number of units (texts, prompts or readers: what was drawn) is below 20, below a
    tenth of the units, or below the smaller of 30 and a third of the units; if the tail of their weights is heavy: a
    Pareto k above 0.7; or if balancing weights leave out more than a quarter of what distinguishes the policies.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import overlap, thin_overlap
    >>> thin_overlap(overlap(np.zeros(500))) is None
    True
    >>> thin_overlap(overlap(np.linspace(0, 60, 500)))
    'Overlap is thin: 500 logged rows count as 17 for this policy.'
    """
    check_type("overlap", overlap, (Overlap,), "what `overlap` returns")
    if overlap.ess < thin_below(overlap.clusters):
        return f"Overlap is thin: {_logged(overlap)} count as {overlap.ess:.0f} for this policy."
    return left_out(overlap) or _heavy_tail(overlap)


def not_to_be_relied_on(overlap: Overlap) -> str | None:
    """Say why an interval is not to be relied on at all, or return None: a part of what makes overlap thin.

    With fewer than 20 effective units the central limit theorem does not hold, nor where a few units carry the answer;
    and weights that leave much unbalanced are those of another policy.
    """
    if overlap.ess < TOO_FEW:
        return f"Overlap is too thin: {_logged(overlap)} count as {overlap.ess:.0f} for this policy."
    return left_out(overlap) or _heavy_tail(overlap)


def _logged(overlap: Overlap) -> str:
    logged = f"{overlap.clusters:,} logged {overlap.unit}"
    return f"{logged} ({overlap.n:,} rows)" if overlap.unit != "rows" and overlap.clusters < overlap.n else logged


def left_out(overlap: Overlap) -> str | None:
    """Say why balancing weights are not those of the policy, or return None."""
    if overlap.unbalanced <= MOST_UNBALANCED:
        return None
    return (
        f"Overlap is too thin: {overlap.unbalanced:.0%} of what tells this policy from the reference is found in no "
        f"weights of {_logged(overlap)} that do not extrapolate."
    )


def _heavy_tail(overlap: Overlap) -> str | None:
    if overlap.pareto_k <= HEAVY_TAIL:
        return None
    return (
        f"Overlap is thin: a few of {_logged(overlap)} carry the answer (tail shape {overlap.pareto_k:.2f}; above "
        f"{HEAVY_TAIL} an interval cannot be trusted)."
    )


@dataclass(frozen=True)
class Verdict:
    """The conclusion about a policy.

    Attributes
    ----------
    outlook:
        Whether the policy is "better" or "worse" than the reference; "unclear" if nothing is concluded.
    finding:
        The conclusion, one sentence with the difference and its interval.
    thin:
        Whether overlap is thin.
    reasons:
        Sentences before the finding: reasons against any conclusion, thin overlap, notes.
    caveats:
        Sentences after it.
    """

    outlook: Outlook
    finding: str
    thin: bool
    reasons: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole paragraph."""
        return " ".join((*self.reasons, self.finding, *self.caveats))


def judge(
    difference: Estimate,
    overlap: Overlap,
    *,
    outcome: str = "outcome",
    direction: Literal["maximize", "minimize"] = "maximize",
    level: float = 0.95,
    robustness_value: float | None = None,
    reference: str = "the reference",
    notes: Sequence[str] = (),
    barred: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Verdict:
    """Decide whether the policy is better than the reference, how certain that is, and what it relies on.

    Parameters
    ----------
    difference:
        Policy minus reference, outcome units (not negated if smaller is better).
    overlap:
        Overlap of the policy's weights; thin overlap is stated first, and with fewer than 20 effective units, or with
        weights that are not those of the policy, nothing is concluded from the interval.
    outcome:
        Name of the outcome.
    direction:
        Whether larger or smaller is better.
    level:
        Level of the interval.
    robustness_value:
        From `Sensitivity.robustness_value`, or None if texts were randomised.
    reference:
        Name, in the sentence, of the policy that this one is compared with.
    notes:
        Sentences that a reader must see before the finding.
    barred:
        Reasons, as sentences, why nothing may be concluded; if there is any, nothing is concluded.
    beside:
        Sentences right after the finding, such as on groups of readers who lose.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import Estimate, judge, overlap
    >>> difference = Estimate(1.0, np.array([0.5, -0.5] * 50))
    >>> judge(difference, overlap(np.zeros(100))).outlook
    'better'
    >>> judge(difference, overlap(np.zeros(100)), barred=["The outcome model failed."]).outlook
    'unclear'
    """
    check_type("difference", difference, (Estimate,), "an Estimate of policy minus reference")
    check_type("overlap", overlap, (Overlap,), "what `overlap` returns")
    check_type("outcome", outcome, (str,), "the name of the outcome")
    check_type("reference", reference, (str,), "the name of the other policy")
    check_choice("direction", direction, ["maximize", "minimize"])
    if robustness_value is not None:
        check_number("robustness_value", robustness_value, least=0, most=1)
    for name, said in (("notes", notes), ("barred", barred), ("beside", beside)):
        check_strings(name, said, "sentences")
    low, high = difference.confint(level)
    thin, few = thin_overlap(overlap), overlap.ess < TOO_FEW
    outlook: Outlook = "unclear"
    if not (low <= 0 <= high or few or left_out(overlap) or barred):
        outlook = "better" if (difference.value > 0) == (direction == "maximize") else "worse"
    finding = (
        f"The data do not show whether the policy is better or worse than {reference}"
        if outlook == "unclear"
        else f"The policy is {outlook} than {reference}"
    )
    caveats = list(beside)
    if few:
        caveats.append(
            f"An interval that rests on fewer than {TOO_FEW:.0f} effective {overlap.unit} is not to be relied on."
        )
    if robustness_value is not None and outlook != "unclear":
        caveats.append(
            f"A hidden cause of both reading and responding would have to explain {percent(robustness_value)} "
            "of what is left unexplained in each to undo this."
        )
    by, least, most = change({"estimate": difference.value, "ci_low": low, "ci_high": high})
    size = plain(f"{by} ({100 * level:g}% interval {least} to {most})")
    return Verdict(
        outlook,
        f"{finding}: everybody reading its texts would move {outcome} by {size}.",
        thin is not None,
        (*barred, *([] if thin is None else [thin]), *notes),
        tuple(caveats),
    )


def verdict(difference: Estimate, overlap: Overlap, **settings: Any) -> str:
    """Return the paragraph of `judge`, which takes the same arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import Estimate, overlap, verdict
    >>> difference = Estimate(1.0, np.array([0.5, -0.5] * 50))
    >>> verdict(difference, overlap(np.zeros(100)), outcome="rating").split(": ")[0]
    'The policy is better than the reference'
    """
    return judge(difference, overlap, **settings).text
