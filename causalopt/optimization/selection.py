"""Selection of the policy of a fit: the best on held-out rows, within a limit on the KL, never by the training loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.behavior import BehaviorPolicy, behavior_log_prob, behavior_source
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import Population
from causalopt.errors import CausalOptWarning, ConfigError, OverlapError, TruncationWarning
from causalopt.estimators.names import MARGINALIZED
from causalopt.evaluation.balancing import balance_rows
from causalopt.evaluation.divergence import divergence
from causalopt.evaluation.policies import Draws, ModelPolicy, context_rows, population_of
from causalopt.evaluation.terms import policy_terms
from causalopt.pseudo_outcome import PseudoOutcomes

KL_DRAWS = 256
"""Number of texts from which a KL is estimated."""


@dataclass(frozen=True)
class Selection:
    """Keeps the policy with the best score, or with the largest KL to the reference, within a limit on the KL.

    This is the `CheckpointRule` of `optimize` and of every run.

    Attributes
    ----------
    reference:
        The start of a fit; it is one of the policies to choose from.
    score:
        Score of a policy, larger is better, such as the lower confidence bound of its value on held-out rows; minus
        infinity if those rows give no information about it. None keeps the policy with the largest KL.
    patience:
        Number of consecutive scores without improvement after which a fit ends.
    kl:
        KL of a policy to the reference, nats; required if there is no score, or a limit.
    target_kl:
        Largest KL of a policy to keep, nats; a fit ends beyond it. None sets no limit.
    name:
        Identifies the rule in the name of a fit's checkpoints.

    Examples
    --------
    >>> from causalopt.optimization.selection import Selection
    >>> rule = Selection(reference=None, kl=lambda policy: policy, target_kl=1.0)
    >>> found = [rule.judge(kl) for kl in (0.2, 0.7, 1.1)]
    >>> rule.is_over(found), rule.best(found)
    (True, 1)
    """

    reference: Policy
    score: Callable[[Policy], float] | None = None
    patience: int = 3
    kl: Callable[[Policy], float] | None = None
    target_kl: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.target_kl is not None and not self.target_kl > 0:
            raise ConfigError(f"target_kl must be positive or null, not {self.target_kl}")
        if self.kl is None and (self.score is None or self.target_kl is not None):
            raise ConfigError("a selection without a score, or with a limit on the KL, needs the KL of a policy")

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return ``score`` and, if it is needed, ``kl``; the score is minus infinity beyond the limit."""
        found = {}
        if self.kl is not None:
            found["kl"] = self.kl(policy)
            if self.target_kl is not None and found["kl"] > self.target_kl:
                return {**found, "score": -math.inf}
        found["score"] = found["kl"] if self.score is None else float(self.score(policy))
        return found

    def is_over(self, found: Sequence[Mapping[str, float]]) -> bool:
        """Whether the last policy is beyond the limit, or the last ``patience`` policies brought no improvement."""
        if not found:
            return False
        if self.target_kl is not None and found[-1]["kl"] > self.target_kl:
            return True
        if self.score is None:
            return False
        scores = [self._start, *(one["score"] for one in found)]
        return len(scores) - 1 - scores.index(max(scores)) >= self.patience

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        """Position of the first of the best scores; None, with a warning, if it does not exceed the reference's score.

        Warns
        -----
        CausalOptWarning
            If the policy to keep is the reference.
        """
        scores = [one["score"] for one in found]
        top = max(scores, default=-math.inf)
        if top > self._start:
            return scores.index(top)
        if self.target_kl is not None and top == -math.inf:
            reason = (
                f"the first policy of the fit is already beyond target_kl = {self.target_kl:g} nats: lower "
                "training.save_steps or training.learning_rate"
            )
        else:
            reason = f"none scores better on the held-out rows ({top:.6g} at best) than the reference"
        warnings.warn(f"the policy is the reference itself: {reason}", CausalOptWarning, stacklevel=4)
        return None

    @cached_property
    def _start(self) -> float:
        """Score of the reference."""
        return -math.inf if self.score is None else float(self.score(self.reference))


def kl_to(reference: Policy, data: DirectOutcomeDataset, seed: int) -> Callable[[Policy], float]:
    """Return a function that computes a policy's KL to the reference, nats, given the prompts of ``data``.

    The KL is summed for policies over known texts, and otherwise estimated on 256 texts of the policy (see
    `causalopt.evaluation.divergence.divergence`), drawn with the same seed for every policy.
    """
    row = context_rows(data, KL_DRAWS, seed)

    def kl(policy: Policy) -> float:
        prompts = None if data.prompts is None or row is None else [data.prompts[i] for i in row]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # texts of the final policy are drawn again later
            texts = policy.sample(prompts, KL_DRAWS if prompts is None else len(prompts), seed)
        drawn = Draws(texts, prompts, g=np.zeros(len(texts)), row=row)
        found = divergence(policy, reference, data, drawn)
        return np.inf if found is None else found.kl

    return kl


def within_kl(
    target_kl: float, rule: Selection | None, reference: Policy, data: DirectOutcomeDataset, seed: int
) -> Selection:
    """Return the rule with a limit on the KL; without a rule, the policy with the largest KL within it is kept."""
    kl = kl_to(reference, data, seed)
    if rule is None:
        return Selection(reference, kl=kl, target_kl=target_kl, name=f"kl {target_kl} {seed}")
    return replace(rule, kl=kl, target_kl=target_kl, name=f"{rule.name} kl {target_kl}")


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
    """Select by the lower bound of the doubly robust value: a policy must be better, and the rows must show it.

    The bound of the selected policy is too high, since it was selected for it: the value to report comes from rows that
    took part in neither training nor selection.

    Parameters
    ----------
    pseudo:
        Rows that the fit does not train on, with nuisances fitted on them alone.
    reference:
        P^f0, for the behavior policy's log-probabilities.
    behavior_policy:
        The source of q, see `causalopt.behavior.behavior_log_prob`.
    estimator:
        A name in `causalopt.estimators.names.ESTIMATORS`.
    level:
        Level of the two-sided interval whose lower end is the score, or the negative of its upper end if the outcome is
        minimised.
    draws:
        Number of texts drawn from a policy for the plug-in part.
    patience:
        See `Selection`.
    seed:
        Seed of the drawn texts, the same for every policy.
    population:
        The population that the value refers to; by default the one for the type of policy, see
        `causalopt.evaluation.evaluate`.
    """
    source = behavior_source(pseudo.dataset, reference, behavior_policy)
    behavior = None if source == "embedding" else behavior_log_prob(pseudo.dataset, reference, source)
    row = context_rows(pseudo.dataset, draws, seed)
    larger_is_better = pseudo.dataset.direction == "maximize"

    def score(policy: Policy) -> float:
        subject = ModelPolicy(policy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # texts of the final policy are drawn again later
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
            if estimator == "balance" and drawn is not None:
                terms = replace(terms, balancing=(balance_rows(pseudo, [drawn]), 0))
            estimate = terms.estimate(estimator)
        except OverlapError:
            return -math.inf
        low, high = estimate.confint(level)
        bound = float(low) if larger_is_better else -float(high)
        return bound if math.isfinite(bound) else -math.inf

    name = f"{estimator} {level} {draws} {patience} {seed} {behavior_policy} {pseudo.dataset.fingerprint()}"
    return Selection(reference, score, patience, name=name)
