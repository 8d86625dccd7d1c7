"""The arrays that value estimators take for one policy on the evaluation rows, and the estimators by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalopt.data.population import Population
from causalopt.errors import DataError, MissingPartError, ModelError
from causalopt.estimators.dm import dm
from causalopt.estimators.dr import dr, dr_os, sndr, switch_dr
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.ipw import clipped_ipw, ipw, snipw
from causalopt.estimators.marginalized import marginal_log_ratio, mdr, mips
from causalopt.estimators.names import MARGINALIZED
from causalopt.estimators.weights import WeightedRows
from causalopt.evaluation.adaptive import AdaptiveScores, adaptive_scores
from causalopt.evaluation.balancing import Score, balance_rows, balanced_estimate, with_regression
from causalopt.evaluation.policies import Draws, LoggedPolicy, Subject
from causalopt.nuisance.forward_fitting import ForwardFit
from causalopt.nuisance.riesz import BalancingWeights
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Array, Float64

NO_DRAWS = "it needs texts drawn from the policy, which are not available (give them as a file, or as data.policy_text)"
RESAMPLED = 1000


@dataclass(frozen=True, eq=False)
class PolicyTerms:
    """Inputs of the estimators for one policy on the n evaluation rows.

    Attributes
    ----------
    log_ratio:
        log P^f - log q of each logged text, shape [n], nats; in embedding space if q is estimated there.
    marginal:
        The ratio in embedding space, shape [n], for the marginalised estimators; if there is none, the reason.
    xi, g, error:
        Shape [n], outcome units; the error is y - m, and 0 in rows without an outcome.
    s, log_observed:
        Stabilized weights, and the log of observed / pi, nats, shape [n]: -inf in rows without an outcome, zeros if all
        have one.
    balancing:
        Balancing weights of the policies that are compared, and the position of this one among them; if there are
        none, the reason.
    score:
        Log-ratio of the policies that are compared, of the rows' texts and as a function of others; None if unknown.
    draws:
        Texts of the policy with their dose response, or None.
    reader_response:
        Shape [n]: m of each reader averaged over the policy's texts; None if there is nothing to average, or if, with
        prompts, each row's own reader enters the plug-in value.
    adaptive:
        Scores for `adaptive_dr`; if there are none, the reason.
    weight, cluster:
        In the form that the estimators take.
    """

    log_ratio: Float64
    marginal: Float64 | str
    xi: Float64
    g: Float64
    error: Float64
    s: Float64
    log_observed: Float64
    draws: Draws | None
    reader_response: Float64 | None
    weight: Float64
    cluster: Array | tuple[Array, Array] | None
    balancing: tuple[BalancingWeights, int] | str = NO_DRAWS
    score: tuple[Float64, Score] | None = None
    adaptive: AdaptiveScores | str = "it was not asked for"

    def ratio_of(self, estimator: str) -> Float64:
        """Log-ratio of the policy to the logged texts that an estimator uses, shape [n], nats."""
        if estimator not in MARGINALIZED:
            return self.log_ratio
        if isinstance(self.marginal, str):
            raise MissingPartError(self.marginal)
        return self.marginal

    def correction_of(self, estimator: str) -> Float64:
        """Log of the weights of y - m, apart from s: the ratio times observed / pi, shape [n], nats."""
        return self.ratio_of(estimator) + self.log_observed

    def weights_of(self, estimator: str) -> tuple[Float64, Float64]:
        """Log of the size of the weight of each y - m, and its sign, shape [n]; without s if that failed."""
        with np.errstate(divide="ignore"):
            if estimator == "balance" and not isinstance(self.balancing, str):
                weights, position = self.balancing
                alpha = weights.alpha[position]
                return np.asarray(np.log(np.abs(alpha)), dtype=np.float64), np.sign(alpha)
            return self.correction_of(estimator) + (np.log(self.s) if self.s.any() else 0.0), np.ones(len(self.g))

    def unbalanced_by(self, estimator: str) -> float:
        """Share of what distinguishes the policies that the weights leave out; 0 if none are balanced."""
        if estimator != "balance" or isinstance(self.balancing, str):
            return 0.0
        return self.balancing[0].unbalanced

    def estimate(self, name: str) -> Estimate:
        """Apply an estimator by name.

        Raises
        ------
        MissingPartError
            If it needs draws and there are none.
        OverlapError
            If the logged texts carry no information about the policy.
        """
        rows: dict[str, Any] = {"reader_response": self.reader_response, "weight": self.weight, "cluster": self.cluster}
        if name in RATIO_ONLY:
            # The g inside xi is a mean over the same readers, so their sampling is part of the error here too.
            return RATIO_ONLY[name](self.ratio_of(name), self.xi, **rows)
        if name == "adaptive_dr":
            if isinstance(self.adaptive, str):
                raise MissingPartError(self.adaptive)
            return self.adaptive.estimate(self.weight)
        if self.draws is None:
            raise MissingPartError(NO_DRAWS)
        if name == "balance":
            if isinstance(self.balancing, str):
                raise MissingPartError(self.balancing)
            weights, position = self.balancing
            drawn = with_regression(self.draws, weights, position, self.error, self.weight)
            observed = None if np.isfinite(self.log_observed).all() else np.isfinite(self.log_observed)
            return balanced_estimate(weights, position, self.error, drawn, observed=observed, **rows)
        g_policy = self.draws.for_plug_in(len(self.g))
        if name == "dm":
            return dm(g_policy, **rows)
        # The correction is over the rows that have an outcome, each standing for 1 / pi readers: a ratio of means
        # normalises by these weights, and thin overlap and degrees of freedom are counted in them.
        corrected = self.g + self.s * self.error
        return DOUBLY_ROBUST[name](self.correction_of(name), corrected, self.g, g_policy, **rows)

    def with_nuisances(self, pseudo: PseudoOutcomes, seed: int) -> PolicyTerms:
        """Return the terms of the same policy and ratios with other nuisances of the same rows."""
        draws = None if self.draws is None else self.draws.with_response_of(pseudo)
        response = _reader_response(pseudo, self.log_ratio, draws, seed)
        return replace(
            self,
            xi=pseudo.xi,
            g=pseudo.g,
            error=pseudo.error,
            s=pseudo.s,
            log_observed=_log_observed(pseudo),
            draws=draws,
            reader_response=response,
        )


RATIO_ONLY: dict[str, Callable[..., Estimate]] = {
    "snipw": snipw, "ipw": ipw, "clipped_ipw": clipped_ipw, "mips": mips,
}  # fmt: skip
DOUBLY_ROBUST: dict[str, Callable[..., Estimate]] = {
    "sndr": sndr, "dr": dr, "switch_dr": switch_dr, "dr_os": dr_os, "mdr": mdr,
}  # fmt: skip


def policy_terms(
    subject: Subject,
    pseudo: PseudoOutcomes,
    behavior: Float64 | None,
    draws: Draws | None,
    *,
    marginal: bool,
    seed: int,
    population: Population | None = None,
) -> PolicyTerms:
    """Gather the inputs of the estimators for one policy.

    Parameters
    ----------
    subject:
        The policy.
    pseudo:
        Pseudo-outcomes of the evaluation rows.
    behavior:
        log q of the logged texts, shape [n], nats; None for a ratio in embedding space.
    draws:
        Texts drawn from the policy, or None.
    marginal:
        Whether the ratio in embedding space is needed in addition to that of ``behavior``.
    seed:
        Seed of the classifier's folds.
    population:
        Used instead of the data set's own.

    Raises
    ------
    MissingPartError
        If there is no ratio of any kind.
    """
    data = pseudo.dataset
    in_embedding: Float64 | str = NO_DRAWS
    if isinstance(subject, LoggedPolicy):
        in_embedding = np.zeros(len(data))
    elif draws is not None and (marginal or behavior is None):
        try:
            in_embedding = embedding_log_ratio(pseudo, *draws.sample(data.weight, seed), seed=seed)
        except DataError as error:  # too few texts for a classifier: the other estimators do not need it
            if behavior is None:
                raise DataError(
                    f"{error}: texts drawn from a policy tell no ratio here; give the probability of each text (a "
                    "table with a column 'probability')"
                ) from error
            in_embedding = str(error)
    if isinstance(subject, LoggedPolicy):
        log_ratio = np.zeros(len(data))
    elif behavior is not None:
        log_prob = subject.log_prob(data)  # costs a pass over every row: skipped if it is not needed
        if log_prob is None:
            raise MissingPartError(
                f"{data.source}: the policy has no log-probabilities of the logged texts: name the column "
                "data.policy_log_prob, or set behavior_policy: embedding"
            )
        log_ratio = log_prob - behavior
    elif not isinstance(in_embedding, str):
        log_ratio = in_embedding
    else:
        raise MissingPartError(
            f"{data.source}: behavior_policy: embedding needs texts drawn from the policy: give them as a file, or "
            "name the column data.policy_text"
        )
    return PolicyTerms(
        log_ratio=log_ratio,
        marginal=in_embedding,
        xi=pseudo.xi,
        g=pseudo.g,
        error=pseudo.error,
        s=pseudo.s,
        log_observed=_log_observed(pseudo),
        draws=draws,
        reader_response=_reader_response(pseudo, log_ratio, draws, seed),
        weight=data.weight,
        cluster=data.cluster(population),
    )


def _log_observed(pseudo: PseudoOutcomes) -> Float64:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(pseudo.observation_weight), dtype=np.float64)


def with_balancing_weights(
    policy: PolicyTerms,
    reference: PolicyTerms,
    pseudo: PseudoOutcomes,
    score: tuple[Float64, Score] | None = None,
) -> tuple[PolicyTerms, PolicyTerms]:
    """Add the balancing weights of two policies that are compared, which share a penalty.

    ``score`` is their log-ratio, of the rows' texts and as a function of others, if both can be called.
    """
    if policy.draws is None or reference.draws is None:
        return policy, reference
    try:
        weights = balance_rows(pseudo, (policy.draws, reference.draws), score)
    except (DataError, ModelError) as error:  # the other estimators do not need them
        return replace(policy, balancing=str(error)), replace(reference, balancing=str(error))
    return replace(policy, balancing=(weights, 0), score=score), replace(reference, balancing=(weights, 1), score=score)


def with_adaptive_scores(
    terms: Mapping[str, PolicyTerms],
    subjects: Mapping[str, Subject],
    pseudo: PseudoOutcomes,
    seed: int,
    fit: ForwardFit | None = None,
) -> dict[str, PolicyTerms]:
    """Add the scores of `adaptive_dr` of two policies that are compared, which share their weights in time."""
    try:
        found = adaptive_scores(pseudo, subjects, {who: one.draws for who, one in terms.items()}, seed, fit)
    except (MissingPartError, DataError) as error:  # the other estimators do not need them
        return {who: replace(one, adaptive=str(error)) for who, one in terms.items()}
    return {who: replace(one, adaptive=found[who]) for who, one in terms.items()}


def embedding_log_ratio(
    pseudo: PseudoOutcomes, texts: list[str], prompts: list[str] | None, *, seed: int, **settings: Any
) -> Float64:
    """Log-ratio of the distribution of ``texts`` to the logged one at each logged text's embedding, shape [n], nats.

    See `causalopt.evaluation.marginal_log_ratio`, whose other settings can be passed.
    """
    data, fitted = pseudo.dataset, pseudo.fitted()
    logged, drawn = fitted.embed_together(data.prompts, data.texts, prompts, texts)
    text = [*_labels(data.prompts, data.texts), *_labels(prompts, texts)]
    return marginal_log_ratio(logged, drawn, weight=data.weight, text=text, seed=seed, **settings)


def _labels(prompts: Sequence[str] | None, texts: Sequence[str]) -> list[str]:
    """Return labels of equal texts, each with its prompt: folds made from these do not depend on the order of rows."""
    return (
        list(texts) if prompts is None else [f"{prompt}\0{text}" for prompt, text in zip(prompts, texts, strict=True)]
    )


def _reader_response(pseudo: PseudoOutcomes, log_ratio: Float64, draws: Draws | None, seed: int) -> Float64 | None:
    """Average m over the policy's texts for each reader, shape [n].

    Without draws, logged texts are used, drawn in proportion to their ratios. The result only affects the error.
    """
    data = pseudo.dataset
    if data.covariates.shape[1] == 0 or data.prompts is not None:
        return None
    if draws is not None:
        return pseudo.reader_response(draws.sample(data.weight, seed)[0])
    rows = WeightedRows.of(log_ratio, data.weight)
    share = np.exp(rows.log_weight - np.logaddexp.reduce(rows.log_weight))
    chosen = np.random.default_rng(seed).choice(len(data), size=RESAMPLED, p=share / share.sum())
    return pseudo.reader_response([data.texts[i] for i in chosen])
