"""What rows that were set apart show of a path's policies, by texts of their own or texts that they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.data.population import Population
from causalopt.evaluation.divergence import Divergence, divergence
from causalopt.evaluation.logged_law import look_at_logged_law, outside_of_logged
from causalopt.evaluation.policies import Draws, ModelPolicy, context_rows
from causalopt.evaluation.score import log_ratio
from causalopt.evaluation.shared_draws import SharedDraws, effective_number
from causalopt.evaluation.terms import PolicyTerms, policy_terms
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, BehaviorPolicy, Float64

Path = Callable[[float], Policy]
"""The policy at each factor."""
FEWEST = 0.5
"""Effective number of shared texts, as a share of those that are drawn at one point, below which more are drawn."""


@dataclass(frozen=True, eq=False)
class SeenPolicy:
    """A policy and its reference on the same rows.

    Attributes
    ----------
    policy:
        The policy.
    terms, reference:
        Inputs of the estimators for the policy and its reference.
    divergence:
        KL of the policy to its reference.
    outside, outside_of_reference:
        Share of the texts of each that lie outside of the logged ones' support; None if that cannot be measured.
    log_ratio:
        Log-ratio of the two, nats, of each pair of prompt and text that was scored.
    """

    policy: Policy
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

    def see(self, factor: float) -> SeenPolicy:
        """Return what the rows show of the policy at ``factor``; policies are asked for from the reference outwards."""
        ...


class OwnTexts:
    """Texts that each policy writes: for policies over known texts, whose sums are exact, and ratios of embeddings."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self._setting = setting
        self._path = path
        self._reference = path(0.0)
        self._row = context_rows(setting.pseudo.dataset, setting.draws, setting.seed)
        _, self._terms, self._outside = self._look(self._reference)

    def see(self, factor: float) -> SeenPolicy:
        policy = self._path(factor)
        drawn, terms, outside = self._look(policy)
        apart = divergence(policy, self._reference, self._setting.pseudo.dataset, drawn) or Divergence(math.inf, 0.0)
        return SeenPolicy(policy, terms, self._terms, apart, outside, self._outside, {})

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
    """Texts of a few policies of a path, the reference among them, weighted to those that lie between them.

    To score a text costs less than to write it, and policies that share their texts share their Monte Carlo error: that
    of a small difference is small. Texts are never weighted to a policy further out than those that wrote them. Beyond
    the end of a fit a language model may turn to texts that it had hardly written before: a sample without them has a
    large effective number, and shows neither their value nor that they lie outside of what was logged.

    Parameters
    ----------
    path:
        The policy at each factor.
    ends:
        Factors of the policies that write texts, each when a policy up to it is first asked for.
    setting:
        The rows, and the number of texts of each policy that writes some.
    """

    def __init__(self, path: Path, ends: Sequence[float], setting: Setting) -> None:
        self._setting = setting
        self._path = path
        self._ends = sorted(ends)
        self._writers = {factor: path(factor) for factor in (0.0, self._ends[0])}
        row = context_rows(setting.pseudo.dataset, setting.draws, setting.seed)
        self._shared = SharedDraws.of([*self._writers.values()], setting.pseudo, setting.draws, setting.seed, row)
        self._outside = [self._outside_of(k) for k in range(2)]

    def see(self, factor: float) -> SeenPolicy:
        given = self._setting
        end = next(end for end in self._ends if end >= factor)
        if end not in self._writers:
            self._draw(end, self._path(end))
        policy = self._writers[factor] if factor in self._writers else self._path(factor)
        log_prob = self._log_prob(factor, policy)
        weight = self._shared.weight(log_prob)
        if effective_number(weight) < FEWEST * given.draws:
            self._draw(factor, policy)
            log_prob = self._log_prob(factor, policy)
            weight = self._shared.weight(log_prob)
        of_reference = self._shared.log_prob[0]
        reference = self._shared.weight(of_reference)
        return SeenPolicy(
            policy,
            given.terms(policy, self._shared.weighted(weight)),
            given.terms(self._writers[0.0], self._shared.weighted(reference)),
            self._shared.divergence(weight, reference, given.pseudo.dataset.weight),
            self._share_outside(weight),
            self._share_outside(reference),
            self._by_pair(log_ratio(log_prob, of_reference)),
        )

    def _draw(self, factor: float, policy: Policy) -> None:
        self._shared = self._shared.with_draws_of(policy, self._setting.pseudo, [*self._writers.values()])
        self._writers[factor] = policy
        self._outside.append(self._outside_of(len(self._outside)))

    def _log_prob(self, factor: float, policy: Policy) -> Float64:
        """Log-probability of each text, shape [M], nats."""
        if factor in self._writers:
            return np.asarray(self._shared.log_prob[list(self._writers).index(factor)], dtype=np.float64)
        return policy.log_prob(self._shared.texts.prompts, self._shared.texts.texts)

    def _by_pair(self, values: Float64) -> dict[tuple[str | None, str], float]:
        texts = self._shared.texts
        prompts = [None] * len(texts.texts) if texts.prompts is None else texts.prompts
        return dict(zip(zip(prompts, texts.texts, strict=True), values.tolist(), strict=True))

    def _outside_of(self, k: int) -> Array | None:
        """Whether each text of the k-th policy that wrote some lies outside of the logged ones' support.

        Each policy is compared with the logs by itself: in a mixture with the reference, which is like the logs, a
        classifier sees fewer of the texts that are not.
        """
        given = self._setting
        return outside_of_logged(given.pseudo, self._shared.texts_of(k), given.population, given.seed)

    def _share_outside(self, weight: Float64) -> float | None:
        known = [flags for flags in self._outside if flags is not None]
        if len(known) < len(self._outside):
            return None
        return float(weight @ np.concatenate(known) / weight.sum())
