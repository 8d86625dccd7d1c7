"""Comparison of logged and drawn texts: whether q fits the logged ones, and whether these cover the policy's."""

from __future__ import annotations

from dataclasses import dataclass

from causalopt.backends.contracts import EnumerablePolicy
from causalopt.behavior import BehaviorPolicy
from causalopt.data.population import Population
from causalopt.diagnostics.behavior_fit import BehaviorFit, behavior_fit
from causalopt.diagnostics.support import Support, support
from causalopt.errors import DataError
from causalopt.estimators.cluster import pair_codes
from causalopt.evaluation.policies import Draws, ModelPolicy, Subject
from causalopt.pseudo_outcome import PseudoOutcomes

NOTEWORTHY, MOST = 0.1, 0.5
"""Shares of a policy's texts outside of the logged ones above which they are reported, and nothing is concluded."""


@dataclass(frozen=True)
class LoggedLaw:
    """Results on the distribution of the logged texts.

    Attributes
    ----------
    source:
        The q that the ratios are based on.
    fit:
        Fit of the reference used as q; None if q is not a model that writes texts, or no texts were drawn from it.
    support:
        Overlap of the policy with the logged texts; None if it chooses among known texts, or no texts were drawn.
    """

    source: BehaviorPolicy
    fit: BehaviorFit | None = None
    support: Support | None = None
    unknown: str | None = None
    """Reason why one of them could not be measured."""

    def notes(self, ratios: bool = True) -> tuple[str, ...]:
        """Sentences that a reader of the value must see; ``ratios`` is whether it weights by ratios to q."""
        said = []
        if self.fit is not None and (
            self.fit.judgement in ("questionable", "unclear") or (self.fit.bars_finding and not ratios)
        ):
            said.append(self.fit.sentence)
        if self.support is not None and NOTEWORTHY < self.support.outside <= MOST:
            said.append(self.support.sentence)
        if self.unknown is not None:
            said.append(f"How the logged texts compare with what the policies write is not known: {self.unknown}.")
        return tuple(said)

    def barred(self, ratios: bool = True) -> tuple[str, ...]:
        """Reasons why no gain or harm is concluded; ``ratios`` is whether the value weights by ratios to q."""
        said = []
        if ratios and self.fit is not None and self.fit.bars_finding:
            said.append(self.fit.sentence)
        if self.support is not None and self.support.outside > MOST:
            said.append(self.support.sentence)
        return tuple(said)


def look_at_logged_law(
    pseudo: PseudoOutcomes,
    source: BehaviorPolicy,
    q: Subject,
    q_draws: Draws | None,
    policy: Subject,
    policy_draws: Draws | None,
    population: Population,
    seed: int,
) -> LoggedLaw:
    """Compare the logged texts with texts of the reference used as q, and with the policy's.

    Parameters
    ----------
    pseudo:
        Pseudo-outcomes of the evaluation rows, on which the reference was not tuned.
    source:
        The q that the ratios are based on.
    q, q_draws:
        The reference used as q, and its texts.
    policy, policy_draws:
        The policy, and its texts.
    population:
        Whether texts and prompts are drawn or fixed.
    seed:
        Seed of the classifiers' folds.
    """
    data = pseudo.dataset
    ways = data.cluster(population)
    cluster = pair_codes(*ways) if isinstance(ways, tuple) else ways
    fit: BehaviorFit | None = None
    reach: Support | None = None
    try:
        if source == "reference" and q_draws is not None and _writes(q):
            x, drawn = pseudo.fitted().embed_together(data.prompts, data.texts, q_draws.prompts, q_draws.texts)
            fit = behavior_fit(x, drawn, weight=data.weight, cluster=cluster, row=q_draws.row, seed=seed)
        if policy_draws is not None and not policy_draws.logged and _writes(policy):
            x, drawn = pseudo.fitted().embed_together(
                data.prompts, data.texts, policy_draws.prompts, policy_draws.texts
            )
            reach = support(x, drawn, weight=data.weight, cluster=cluster, row=policy_draws.row, seed=seed)
    except DataError as error:  # for example a single unit, on which no classifier can be evaluated
        return LoggedLaw(source, fit, reach, str(error))
    return LoggedLaw(source, fit, reach)


def _writes(subject: Subject) -> bool:
    """Whether the policy writes new texts, rather than choosing among known ones."""
    return not (isinstance(subject, ModelPolicy) and isinstance(subject.policy, EnumerablePolicy))
