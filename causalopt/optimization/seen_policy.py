"""What rows that were set apart show of a path's policies, by texts of their own or texts that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.behavior import BehaviorPolicy
from causalopt.data.population import Population
from causalopt.evaluation.divergence import Divergence, divergence
from causalopt.evaluation.logged_law import look_at_logged_law, outside_of_logged
from causalopt.evaluation.policies import Draws, ModelPolicy, context_rows
from causalopt.evaluation.shared_draws import SharedDraws, effective_number
from causalopt.evaluation.terms import PolicyTerms, policy_terms
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64

FEWEST = 0.5
"""Effective number of shared texts, as a share of those that are drawn at one point, below which more are drawn."""


@dataclass(frozen=True, eq=False)
class SeenPolicy:
    """A policy and its reference on the same rows.

    Attributes
    ----------
    terms, reference:
        Inputs of the estimators.
    divergence:
        KL of the policy to its reference.
    outside, outside_of_reference:
        Share of the texts of each that lie outside of the logged ones' support; None if that cannot be measured.
    log_ratio:
        Log-ratio of the two, nats, of each pair of prompt and text that was scored.
    """

    terms: PolicyTerms
    reference: PolicyTerms
    divergence: Divergence
    outside: float | None
    outside_of_reference: float | None
    log_ratio: Mapping[tuple[str | None, str], float]


@dataclass(frozen=True, eq=False)
class Setting:
    """What is the same for all policies of a path.

    Attributes
    ----------
    pseudo:
        Pseudo-outcomes of the rows.
    behavior, source:
        log q of the logged texts, shape [n], nats, and where it is from; None for ratios in embedding space.
    population:
        The population that the values refer to.
    draws, seed:
        Number of texts drawn from a policy, and their seed.
    """

    pseudo: PseudoOutcomes
    behavior: Float64 | None
    source: BehaviorPolicy
    population: Population
    draws: int
    seed: int

    def terms(self, policy: Policy, drawn: Draws) -> PolicyTerms:
        return policy_terms(
            ModelPolicy(policy),
            self.pseudo,
            self.behavior,
            drawn,
            marginal=False,
            seed=self.seed,
            population=self.population,
        )


class Texts(Protocol):
    """Where the texts behind the values of a path's policies come from."""

    def see(self, policy: Policy) -> SeenPolicy:
        """Return what the rows show of a policy."""
        ...


class OwnTexts:
    """Texts that each policy writes: for policies over known texts, whose sums are exact, and ratios of embeddings."""

    def __init__(self, reference: Policy, setting: Setting) -> None:
        self._setting = setting
        self._reference = reference
        self._row = context_rows(setting.pseudo.dataset, setting.draws, setting.seed)
        _, self._terms, self._outside = self._look(reference)

    def see(self, policy: Policy) -> SeenPolicy:
        drawn, terms, outside = self._look(policy)
        apart = divergence(policy, self._reference, self._setting.pseudo.dataset, drawn) or Divergence(math.inf, 0.0)
        return SeenPolicy(terms, self._terms, apart, outside, self._outside, {})

    def _look(self, policy: Policy) -> tuple[Draws, PolicyTerms, float | None]:
        given, subject = self._setting, ModelPolicy(policy)
        drawn = subject.draw(given.pseudo, given.draws, given.seed, self._row)
        assert drawn is not None
        law = look_at_logged_law(
            given.pseudo,
            given.source,
            subject,
            None,
            {"policy": subject},
            {"policy": drawn},
            given.population,
            given.seed,
        )
        return drawn, given.terms(policy, drawn), None if law.support is None else law.support.outside


class SharedTexts:
    """Texts of the two ends of a path, weighted to the policies between them; further out, more are drawn.

    To score a text costs less than to write it. The policies have their Monte Carlo error in common, so that the
    difference of two that are near each other has next to none.
    """

    def __init__(self, end: Policy, reference: Policy, setting: Setting) -> None:
        self._setting = setting
        self._from = [reference, end]
        pseudo = setting.pseudo
        row = context_rows(pseudo.dataset, setting.draws, setting.seed)
        self._shared = SharedDraws.of(self._from, pseudo, setting.draws, setting.seed, row)
        self._outside = self._outside_flags()

    def see(self, policy: Policy) -> SeenPolicy:
        given = self._setting
        log_prob, weight = self._weigh(policy)
        if effective_number(weight) < FEWEST * given.draws:
            self._shared = self._shared.with_draws_of(policy, given.pseudo, self._from)
            self._from.append(policy)
            self._outside = self._outside_flags()
            log_prob, weight = self._weigh(policy)
        shared, reference = self._shared, self._from[0]
        known = self._shared.log_prob[0]
        of_reference = shared.weight(known)
        exposure = given.pseudo.dataset.weight
        texts = shared.texts
        prompts = [None] * len(texts.texts) if texts.prompts is None else texts.prompts
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isneginf(log_prob) & np.isneginf(known), 0.0, log_prob - known)
        return SeenPolicy(
            given.terms(policy, shared.weighted(weight)),
            given.terms(reference, shared.weighted(of_reference)),
            shared.divergence(weight, of_reference, exposure),
            self._share_outside(weight),
            self._share_outside(of_reference),
            dict(zip(zip(prompts, texts.texts, strict=True), ratio.tolist(), strict=True)),
        )

    def _weigh(self, policy: Policy) -> tuple[Float64, Float64]:
        """Log-probability of each shared text under a policy, nats, and its weight, shape [M]."""
        for one, log_prob in zip(self._from, self._shared.log_prob, strict=True):
            if one is policy:
                return log_prob, self._shared.weight(log_prob)
        log_prob = policy.log_prob(self._shared.texts.prompts, self._shared.texts.texts)
        return log_prob, self._shared.weight(log_prob)

    def _outside_flags(self) -> Array | None:
        given = self._setting
        return outside_of_logged(given.pseudo, self._shared.texts, given.population, given.seed)

    def _share_outside(self, weight: Float64) -> float | None:
        return None if self._outside is None else float(weight @ self._outside / weight.sum())
