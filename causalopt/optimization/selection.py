"""The score by which a fit chooses its policy: the lower confidence bound of its value on held-out rows."""

from __future__ import annotations

import math
import warnings

from causalopt.backends.contracts import Policy, Selection
from causalopt.behavior import BehaviorPolicy, behavior_log_prob, behavior_source
from causalopt.data.population import Population
from causalopt.errors import OverlapError, TruncationWarning
from causalopt.estimators.names import MARGINALIZED
from causalopt.evaluation.policies import ModelPolicy, context_rows, population_of
from causalopt.evaluation.terms import policy_terms
from causalopt.pseudo_outcome import PseudoOutcomes


def select_by_lower_bound(
    pseudo: PseudoOutcomes,
    reference: Policy,
    *,
    behavior_policy: BehaviorPolicy | None = None,
    estimator: str = "sndr",
    level: float = 0.9,
    draws: int = 200,
    patience: int = 3,
    seed: int = 0,
    population: Population | None = None,
) -> Selection:
    """Choose by the doubly robust value's lower bound: a policy must be better, and the rows must be able to tell.

    The bound of the policy that is chosen is too high, since it was chosen for it: the value to report comes from rows
    that took part in neither training nor choosing.

    Parameters
    ----------
    pseudo:
        Rows that the fit does not train on, with nuisances fitted on them alone.
    reference:
        P^f0, for the behavior policy's log-probabilities.
    behavior_policy:
        Where q comes from, see `causalopt.behavior.behavior_log_prob`.
    estimator:
        A name in `causalopt.estimators.names.ESTIMATORS`.
    level:
        Level of the two-sided interval whose end is taken: the lower one, or the upper one's negative when the outcome
        is to be small.
    draws:
        Texts drawn from a policy for the plug-in part.
    patience:
        See `causalopt.backends.contracts.Selection`.
    seed:
        Seed of the texts that are drawn, the same for every policy.
    population:
        What the value is over; by default what fits the policy, see `causalopt.evaluation.evaluate`.
    """
    source = behavior_source(pseudo.dataset, reference, behavior_policy)
    behavior = None if source == "embedding" else behavior_log_prob(pseudo.dataset, reference, source)
    row = context_rows(pseudo.dataset, draws, seed)
    larger_is_better = pseudo.dataset.direction == "maximize"

    def score(policy: Policy) -> float:
        subject = ModelPolicy(policy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the policy that is kept is drawn from again
            drawn = subject.draw(pseudo, draws, seed, row)
        marginal = estimator in MARGINALIZED
        try:
            terms = policy_terms(
                subject,
                pseudo,
                behavior,
                drawn,
                marginal=marginal,
                seed=seed,
                population=population or population_of(subject),
            )
            estimate = terms.estimate(estimator)
        except OverlapError:
            return -math.inf
        low, high = estimate.confint(level)
        bound = float(low) if larger_is_better else -float(high)
        return bound if math.isfinite(bound) else -math.inf

    name = f"{estimator} {level} {draws} {seed} {behavior_policy} {pseudo.dataset.fingerprint()}"
    return Selection(score, patience, name)
