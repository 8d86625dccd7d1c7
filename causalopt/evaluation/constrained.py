"""Values of the outcomes on which constraints put bounds, for two policies that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from causalopt.data.constraint import Constraint
from causalopt.errors import MissingPartError, OverlapError
from causalopt.estimators.estimate import Estimate
from causalopt.evaluation.comparison import of_other_outcome
from causalopt.evaluation.policies import Subject
from causalopt.evaluation.terms import PolicyTerms
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import BehaviorPolicy, Float64


@dataclass(frozen=True, eq=False)
class Constrained:
    """Values of a constrained outcome under a policy and its reference, on rows that chose neither.

    Attributes
    ----------
    constraint:
        The bound.
    policy, reference:
        The values, in units of the constrained outcome; None if they cannot be estimated.
    level:
        Level of their intervals.
    reason:
        Why they cannot be estimated.
    """

    constraint: Constraint
    policy: Estimate | None
    reference: Estimate | None
    level: float
    reason: str | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the policy's interval shows that the bound holds (or does not); None if it shows neither."""
        return self._holds(self.policy)

    @property
    def sentence(self) -> str:
        """Say whether the bound holds for the policy, and for the reference if it does not there."""
        if self.policy is None or self.reference is None:
            return f"Whether the bound {self.constraint.words} holds cannot be told: {self.reason}."
        interval = f"{100 * self.level:g}% interval"
        who = {"the policy": self.policy, "the reference": self.reference}
        said = [
            self.constraint.sentence(name, estimate.value, *estimate.confint(self.level), interval)
            for name, estimate in who.items()
            if name == "the policy" or self._holds(estimate) is False
        ]
        if self.policy.se == 0:
            said.append(f"The {self.constraint.outcome} of all rows is the same, so that its interval has no width.")
        return " ".join(said)

    def _holds(self, estimate: Estimate | None) -> bool | None:
        # Rows without a single event have a standard error of zero, and tell no limit.
        return None if estimate is None or not estimate.se else self.constraint.holds(*estimate.confint(self.level))


def constrained_value(
    constraint: Constraint,
    terms: Mapping[str, PolicyTerms],
    subjects: Mapping[str, Subject],
    pseudo: PseudoOutcomes,
    behavior: Float64 | None,
    source: BehaviorPolicy,
    estimator: str,
    level: float,
    seed: int,
) -> Constrained:
    """Estimate the values of a constrained outcome, with the texts and ratios of an evaluation.

    Parameters
    ----------
    constraint:
        The bound, on one of ``pseudo.others``.
    terms, subjects, pseudo, behavior, source, seed:
        Of the evaluation, see `causalopt.evaluation.comparison.compared`.
    estimator:
        Name of the headline estimator.
    level:
        Level of the intervals.
    """
    other = pseudo.other(constraint.outcome, constraint.direction)
    found = of_other_outcome(terms, subjects, pseudo, other, behavior, source, [estimator], seed)
    try:
        policy, reference = (found[who].estimate(estimator) for who in ("policy", "reference"))
    except (OverlapError, MissingPartError) as error:
        return Constrained(constraint, None, None, level, str(error))
    return Constrained(constraint, policy, reference, level)
