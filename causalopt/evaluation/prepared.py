"""What an evaluation of a policy and its reference has before any estimator: nuisances, q, draws and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import get_args

from causalopt.backends.contracts import Policy
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.behavior import behavior_log_prob, behavior_source
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.population import Population
from causalopt.data.seen_rows import refuse_seen_rows
from causalopt.doors import check_choice, check_contract, check_number, check_type
from causalopt.errors import ConfigError
from causalopt.estimators.names import MARGINALIZED
from causalopt.evaluation.comparison import compared
from causalopt.evaluation.logged_law import few_texts, is_listed
from causalopt.evaluation.policies import (
    NOT_CALLED,
    Draws,
    Evaluable,
    LoggedPolicy,
    ModelPolicy,
    ScoredPolicy,
    Subject,
    as_subject,
    context_rows,
    over_choices_of,
    population_of,
)
from causalopt.evaluation.terms import PolicyTerms, policy_terms
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.signatures import LARGEST_COUNT
from causalopt.typing import BehaviorPolicy, Float64, Int64


@dataclass(frozen=True, eq=False)
class Prepared:
    """Two policies, "policy" and "reference", on the same rows.

    Attributes
    ----------
    pseudo:
        Pseudo-outcomes of the rows.
    population:
        Population that the values refer to.
    subjects, draws, terms:
        By policy: the policy itself, its texts, and the inputs of the estimators.
    source, behavior, behavior_reference:
        The q that ratios are based on; log q of the rows, shape [n], nats, or None in embedding space; and the policy
        that is q under "reference".
    row:
        Rows in whose contexts texts were drawn, shape [m]; None without prompts.
    """

    pseudo: PseudoOutcomes
    population: Population
    subjects: Mapping[str, Subject]
    draws: Mapping[str, Draws | None]
    terms: Mapping[str, PolicyTerms]
    source: BehaviorPolicy
    behavior: Float64 | None
    behavior_reference: Policy | None
    row: Int64 | None


def check_two(
    who: str, policy: Evaluable, reference: Evaluable | None, data: DirectOutcomeDataset | PseudoOutcomes
) -> Evaluable:
    """Check the policies and the rows given to the function ``who``, and return the reference.

    Raises
    ------
    ConfigError, DataError
        If one of them is of the wrong kind, there is no reference, or a policy was optimised on most of the rows.
    """
    check_type(f"{who}: data", data, (DirectOutcomeDataset, PseudoOutcomes), "a DirectOutcomeDataset or PseudoOutcomes")
    if not isinstance(policy, NOT_CALLED):
        check_contract(f"{who}: policy", policy, ("log_prob", "sample"), "a policy")
    if reference is None and isinstance(policy, OptimizedPolicy):
        reference = policy.reference
    if reference is None:
        raise ConfigError(f"{who} needs reference=, the policy to compare with (LoggedPolicy() for the logs)")
    if not isinstance(reference, NOT_CALLED):
        check_contract(f"{who}: reference", reference, ("log_prob", "sample"), "a policy")
    for one in (policy, reference):
        if isinstance(one, OptimizedPolicy):
            rows = data.dataset if isinstance(data, PseudoOutcomes) else data
            refuse_seen_rows(rows, one.seen, "evaluate it on rows that it never saw, such as the other side of a split")
    return reference


def prepare(
    policy: Evaluable,
    reference: Evaluable,
    data: DirectOutcomeDataset | PseudoOutcomes,
    *,
    nuisances: PseudoOutcomeEstimator | None,
    estimators: Sequence[str],
    behavior_policy: BehaviorPolicy | None,
    behavior_reference: Policy | None,
    draws: int,
    seed: int,
    population: Population | None,
    reference_draws: Draws | None = None,
) -> Prepared:
    """Fit nuisances, draw texts and weight the rows; the parameters are those of `causalopt.evaluate`."""
    check_number("draws", draws, least=2, most=LARGEST_COUNT, whole=True)
    if behavior_policy is not None:
        check_choice("behavior_policy", behavior_policy, get_args(BehaviorPolicy))
    if behavior_reference is not None:
        check_contract("behavior_reference", behavior_reference, ("log_prob", "sample"), "a policy")
    check_type("reference_draws", reference_draws, (Draws, NoneType), "the draws of an earlier evaluation, or None")
    check_type("nuisances", nuisances, (PseudoOutcomeEstimator, NoneType), "a PseudoOutcomeEstimator, or None")
    asked = data.dataset if isinstance(data, PseudoOutcomes) else data
    new, old = (_over_choices(as_subject(one), asked) for one in (policy, reference))
    if population is None:
        population = population_of(new, old)
    if isinstance(data, PseudoOutcomes):
        pseudo = data
    else:
        rows = data.with_population(population)
        pseudo = (nuisances or PseudoOutcomeEstimator(seed=seed)).fit_transform(rows)
    if behavior_reference is not None:
        behavior_reference = over_choices_of(behavior_reference, asked)
    elif isinstance(old, ModelPolicy) and not is_listed(old):
        behavior_reference = old.policy
    if behavior_policy is None:
        behavior_policy = _source_for(new, old, pseudo.dataset, behavior_reference)
    source = behavior_source(pseudo.dataset, behavior_reference, behavior_policy)
    behavior = None if source == "embedding" else behavior_log_prob(pseudo.dataset, behavior_reference, source)
    row = context_rows(pseudo.dataset, draws, seed)
    drawn = {
        "reference": reference_draws or old.draw(pseudo, draws, seed, row),
        "policy": new.draw(pseudo, draws, seed, row),  # the same random numbers: a policy minus itself is exactly 0
    }
    marginal = not set(MARGINALIZED).isdisjoint(estimators)
    terms = {
        who: policy_terms(subject, pseudo, behavior, drawn[who], marginal=marginal, seed=seed, population=population)
        for who, subject in (("reference", old), ("policy", new))
    }
    subjects: dict[str, Subject] = {"policy": new, "reference": old}
    terms = compared(terms, subjects, pseudo, behavior, source, estimators, seed)
    return Prepared(pseudo, population, subjects, drawn, terms, source, behavior, behavior_reference, row)


def _source_for(
    new: Subject, old: Subject, data: DirectOutcomeDataset, behavior_reference: Policy | None
) -> BehaviorPolicy | None:
    """Source of q that the kinds of policies call for; None to take what the data have."""
    asked = [one for one in (new, old) if not isinstance(one, LoggedPolicy)]
    if any(isinstance(one, ScoredPolicy) and one.log_probs is None for one in asked):
        return "embedding"
    if data.logged_log_prob is not None or behavior_reference is not None or not asked:
        return None
    return "frequency" if few_texts(data) and all(is_listed(one) for one in asked) else None


def _over_choices(subject: Subject, data: DirectOutcomeDataset) -> Subject:
    return ModelPolicy(over_choices_of(subject.policy, data)) if isinstance(subject, ModelPolicy) else subject
