"""Texts drawn from a few policies and weighted to others: multiple importance sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.special import kl_div, logsumexp

from causalopt.backends.contracts import Policy
from causalopt.errors import ModelError
from causalopt.evaluation.divergence import Divergence
from causalopt.evaluation.policies import Draws, ModelPolicy
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64, Int64

MOST_ITERATIONS = 1000
PRECISION = 1e-10
"""Largest change of a log normalising constant, nats, at which the iteration ends."""


@dataclass(frozen=True, eq=False)
class SharedDraws:
    """Texts of several policies, as a sample of their mixture, which can be weighted to any policy near them.

    A text x weighs f(x) / mean_k n_k f_k(x) for a policy f, whichever of the policies f_k it was drawn from: the
    balance heuristic of Veach and Guibas (1995, "Optimally combining sampling techniques for Monte Carlo rendering"). A
    weight is at most M / n_k for f = f_k, and no text has a large one between two policies that were drawn from. The
    probabilities of language models are those of all strings, while their texts are drawn until they are valid and end
    in time: the constants by which the two differ are estimated from the texts of all policies together (Kong,
    McCullagh, Meng, Nicolae and Tan 2003, "A theory of statistical models for Monte Carlo integration"), and weights
    have mean one.

    Attributes
    ----------
    texts:
        All M texts, unweighted; with prompts, as many for each of some rows.
    logged:
        With prompts, the logged texts of the same rows; else None.
    log_prob:
        log f_k(x) of each text under each policy that was drawn from, shape [K, M], nats.
    count:
        Number of texts of each of these policies, shape [K].
    seed:
        Seed of the draws.

    Raises
    ------
    ModelError
        If a text has probability zero under all policies, the one that wrote it included.

    Examples
    --------
    >>> import causalopt as co
    >>> from causalopt.backends.listed_policy import ListedPolicy
    >>> from causalopt.evaluation.shared_draws import SharedDraws
    >>> world = co.simulation.TemplateWorld(confounding=0.0, seed=0)
    >>> pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(world.sample(300, seed=1))
    >>> one, other = (ListedPolicy(world.texts[:2], [p, 1 - p]) for p in (0.2, 0.6))
    >>> shared = SharedDraws.of([one, other], pseudo, 500, seed=0)
    >>> weight = shared.weight(ListedPolicy(world.texts[:2], [0.4, 0.6]).log_prob(None, shared.texts.texts))
    >>> first = [text == world.texts[0] for text in shared.texts.texts]
    >>> bool(abs((weight * first).mean() - 0.4) < 0.03)
    True
    """

    texts: Draws
    logged: Draws | None
    log_prob: Float64
    count: Int64
    seed: int

    @classmethod
    def of(
        cls, policies: Sequence[Policy], pseudo: PseudoOutcomes, n: int, seed: int, row: Int64 | None = None
    ) -> Self:
        """Draw ``n`` texts from each of the policies; with prompts, one in the context of each of ``row``."""
        parts = [_drawn(policy, pseudo, n, seed, k, row) for k, policy in enumerate(policies)]
        texts = _joined(parts)
        logged = None
        if row is not None and pseudo.dataset.prompts is not None:
            used = np.unique(row)
            logged = Draws.of(pseudo, [pseudo.dataset.texts[i] for i in used], used)
        log_prob = np.stack([policy.log_prob(texts.prompts, texts.texts) for policy in policies])
        return cls(texts, logged, log_prob, np.array([len(one.texts) for one in parts]), seed)

    def __post_init__(self) -> None:
        if np.isneginf(self.log_prob).all(axis=0).any():
            lost = int(np.isneginf(self.log_prob).all(axis=0).argmax())
            raise ModelError(f"no policy can have written {self.texts.texts[lost][:60]!r}: its probability is zero")

    def with_draws_of(self, policy: Policy, pseudo: PseudoOutcomes, others: Sequence[Policy]) -> SharedDraws:
        """Add as many texts of another policy; ``others`` are those that were drawn from, in their order."""
        row = None if self.texts.row is None else self.texts.row[: self.count[0]]
        new = _drawn(policy, pseudo, int(self.count[0]), self.seed, len(self.count), row)
        known = np.column_stack([self.log_prob, np.stack([one.log_prob(new.prompts, new.texts) for one in others])])
        texts = _joined([self.texts, new])
        own = policy.log_prob(texts.prompts, texts.texts)
        return SharedDraws(
            texts, self.logged, np.vstack([known, own]), np.append(self.count, len(new.texts)), self.seed
        )

    def texts_of(self, k: int) -> Draws:
        """Return the texts of the k-th policy, unweighted."""
        own = slice(int(self.count[:k].sum()), int(self.count[: k + 1].sum()))
        drawn = self.texts
        return Draws(
            drawn.texts[own],
            None if drawn.prompts is None else drawn.prompts[own],
            drawn.g[own],
            None if drawn.row is None else drawn.row[own],
        )

    def weight(self, log_prob: Float64) -> Float64:
        """Weight of each text for a policy, shape [M], with mean one, from its log-probabilities of the texts, nats.

        Raises
        ------
        ModelError
            If the policy can have written none of them.
        """
        log_weight = log_prob - self._log_mixture
        if not log_weight.max() > -np.inf:
            raise ModelError("the policy can have written none of the texts that were drawn from others")
        return np.asarray(np.exp(log_weight - logsumexp(log_weight) + np.log(len(log_weight))), dtype=np.float64)

    def weighted(self, weight: Float64) -> Draws:
        """Return the texts as those of the policy that ``weight`` belongs to.

        With prompts, the weights of a row's few texts do not add up to its exposure, although they do on average. What
        is missing, or too much, is given to the row's logged text, so that a reader's own level cancels in a difference
        of policies. This text was not drawn by the policies, and does not depend on what they wrote: the mean stays
        free of bias, E[w(x) (m(x) - m(x_i)) + m(x_i)] = E_f[m].
        """
        if self.logged is None:
            return replace(self.texts, weight=weight)
        assert self.texts.row is not None
        assert self.logged.row is not None
        each = len(self.texts.texts) / len(self.logged.texts)
        total = np.bincount(self.texts.row, weight, int(self.logged.row.max()) + 1)[self.logged.row]
        missing = np.asarray(each - total, dtype=np.float64)
        return _joined([replace(self.texts, weight=weight), replace(self.logged, weight=missing)])

    def divergence(self, weight: Float64, reference: Float64, exposure: Float64) -> Divergence:
        """KL of a policy to its reference, nats, from the weights of both; never negative, and zero for equal weights.

        The mean of v log(v / w) - v + w over all texts, with v the policy's weights and w the reference's; given
        prompts, the mean over those of the rows by their ``exposure``, [n]. It is the KL of the texts as they are
        drawn: constants by which the probabilities of all strings differ from theirs cancel.
        """
        share = self.texts.share(exposure)
        terms = kl_div(weight, reference)
        kl = float(share @ terms)
        if not np.isfinite(kl):
            return Divergence(np.inf, 0.0)
        return Divergence(kl, float(np.sqrt(share**2 @ (terms - kl * weight) ** 2)))

    @cached_property
    def _log_mixture(self) -> Float64:
        """Log of the density of the mixture at each text, shape [M], nats, up to a constant."""
        log_share = np.log(self.count / self.count.sum())[:, None]
        constant = np.zeros((len(self.count), 1))
        for _ in range(MOST_ITERATIONS):
            log_mixture = logsumexp(log_share + self.log_prob - constant, axis=0)
            found = logsumexp(self.log_prob - log_mixture, axis=1, keepdims=True) - np.log(len(log_mixture))
            found = found - found[0]
            done = np.abs(found - constant).max() < PRECISION
            constant = found
            if done:
                break
        return np.asarray(logsumexp(log_share + self.log_prob - constant, axis=0), dtype=np.float64)


def effective_number(weight: Float64) -> float:
    """Kish's effective number of weighted draws, (sum w)^2 / sum w^2.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation.shared_draws import effective_number
    >>> effective_number(np.array([2.0, 2.0, 0.0, 0.0]))
    2.0
    """
    return float(weight.sum() ** 2 / (weight @ weight))


def _drawn(policy: Policy, pseudo: PseudoOutcomes, n: int, seed: int, k: int, row: Int64 | None) -> Draws:
    # A seed of its own: with common random numbers, policies that are near write the same texts, and two samples are
    # worth one.
    own = int(np.random.SeedSequence([seed, k]).generate_state(1)[0])
    found = ModelPolicy(policy).draw(pseudo, n, own, row)
    assert found is not None
    return Draws(found.texts, found.prompts, found.g, found.row)


def _joined(parts: Sequence[Draws]) -> Draws:
    first = parts[0]
    weights = [part.weight for part in parts if part.weight is not None]
    return Draws(
        [text for part in parts for text in part.texts],
        None if first.prompts is None else [prompt for part in parts for prompt in part.prompts or []],
        np.concatenate([part.g for part in parts]),
        None if first.row is None else np.concatenate([part.row for part in parts if part.row is not None]),
        weight=np.concatenate(weights) if weights else None,
    )
