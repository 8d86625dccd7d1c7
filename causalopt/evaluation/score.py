"""The log-ratio of two policies as a balancing score of any text, or an estimate of it from texts of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np

from causalopt.backends.contracts import ChoiceSetPolicy, EnumerablePolicy, Policy
from causalopt.backends.listed_policy import ListedPolicy
from causalopt.blocks import blocks
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import ModelError
from causalopt.evaluation.balancing import Score
from causalopt.evaluation.policies import Draws, LoggedPolicy, ModelPolicy, Subject
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.repeated import RepeatedRows
from causalopt.typing import BehaviorPolicy, Float64

DISCRIMINANT_PENALTIES = 10.0 ** np.arange(-4.0, 2.5, 0.5)
"""As pseudo-rows for each text."""


def log_ratio_score(
    new: Subject,
    old: Subject,
    data: DirectOutcomeDataset,
    source: BehaviorPolicy,
    log_ratios: tuple[Float64, Float64] | None = None,
    known: Mapping[tuple[str | None, str], float] | None = None,
) -> tuple[Float64, Score] | None:
    """Log-ratio of two policies, of the rows' texts and as a function of others; None unless both can be called.

    ``source`` is that of q, and ``log_ratios`` are the log-ratios of the rows' texts to it, if they are known. Each
    text is scored once, and not at all if its pair with its prompt is among the ``known``, nats.
    """
    policy, reference = (_called(one, data, source) for one in (new, old))
    if policy is None or reference is None:
        return None
    known = dict(known or {})

    def score(prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        asked = list(zip(repeat(None) if prompts is None else prompts, texts, strict=False))
        new = list(dict.fromkeys(pair for pair in asked if pair not in known))
        if new:
            some = None if prompts is None else [str(prompt) for prompt, _ in new]
            written = [text for _, text in new]
            found = log_ratio(_log_prob(policy, some, written), _log_prob(reference, some, written))
            known.update(zip(new, found.tolist(), strict=True))
        return np.array([known[pair] for pair in asked])

    if log_ratios is None:
        return score(data.prompts, data.texts), score
    of_rows = log_ratio(*log_ratios)  # q cancels
    pairs = zip(repeat(None) if data.prompts is None else data.prompts, data.texts, strict=False)
    known.update(zip(pairs, of_rows.tolist(), strict=True))
    return of_rows, score


def discriminant_score(new: Draws, old: Draws, pseudo: PseudoOutcomes) -> tuple[Float64, Score]:
    """Estimate the log-ratio of two policies by a linear discriminant of their texts' embeddings.

    It takes the place of `log_ratio_score` where policies are known by their texts alone. For two normal distributions
    of one covariance the discriminant is their log-ratio (Fisher 1936); here it is the direction of the embedding in
    which the policies differ most for their spread, a shift along which the weights must not miss. It is found by a
    ridge regression of the policy on the embedding, the penalty chosen by leave-one-out error. Its scale has no
    meaning: functions of the score are balanced.

    Parameters
    ----------
    new, old:
        Texts of the two policies.
    pseudo:
        Pseudo-outcomes of the evaluation rows, with their fitted models.
    """
    data, fitted = pseudo.dataset, pseudo.fitted()

    embedded = [fitted.embed(one.prompts, one.texts) for one in (new, old)]
    # The two policies count alike, and texts of a policy as they do in a mean over them.
    share = [one.share(data.weight) for one in (new, old)]
    mean, slope = _discriminant(embedded, share)

    def score(prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        rows = fitted.embed(prompts, texts)
        return np.asarray((rows.table - mean) @ slope)[rows.code]

    return score(data.prompts, data.texts), score


def _discriminant(x: Sequence[RepeatedRows], share: Sequence[Float64]) -> tuple[Float64, Float64]:
    """Ridge regression of 1 for the first policy's texts and -1 for the second's on their standardised embeddings.

    The penalty is the one with the smallest leave-one-out error, as in scikit-learn's `RidgeCV`; the rows are taken a
    block at a time.

    Returns
    -------
    mean, slope:
        Shape [d]; a text with embedding x has the score (x - mean) @ slope, up to a constant.
    """
    n = sum(len(part) for part in x)

    def rows() -> Iterator[tuple[Float64, Float64, float]]:
        """Yield blocks of embeddings and of weights, whose mean is one, with their policy's label."""
        for part, own, label in zip(x, share, (1.0, -1.0), strict=True):
            for block in blocks(len(part)):
                yield np.asarray(part[block], dtype=np.float64), n / 2 * own[block], label

    mean = np.asarray(sum(weight @ part for part, weight, _ in rows()) / n)
    variance = np.asarray(sum(weight @ (part - mean) ** 2 for part, weight, _ in rows()) / n)
    constant = variance <= n * np.finfo(np.float64).eps * variance + (n * mean * np.finfo(np.float64).eps) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance))
    covariance, cross = np.zeros((len(mean), len(mean))), np.zeros(len(mean))
    for part, weight, label in rows():
        rooted = (part - mean) / scale * np.sqrt(weight)[:, None]
        covariance += rooted.T @ rooted
        cross += label * (np.sqrt(weight) @ rooted)
    size, axes = np.linalg.eigh(covariance)
    shrunken = 1 / (size + n * DISCRIMINANT_PENALTIES[:, None])
    slopes = (shrunken * (axes.T @ cross)) @ axes.T
    loss = np.zeros(len(slopes))
    for part, weight, label in rows():
        z = (part - mean) / scale
        leverage = weight[:, None] * (1 / n + (z @ axes) ** 2 @ shrunken.T)
        loss += weight @ ((label - z @ slopes.T) / (1 - leverage)) ** 2
    return mean, slopes[int(np.argmin(loss))] / scale


def _called(subject: Subject, data: DirectOutcomeDataset, source: BehaviorPolicy) -> Policy | None:
    """Return the policy as a function of any text; None if it cannot be called."""
    if isinstance(subject, LoggedPolicy) and source == "frequency":
        return ListedPolicy.of_rows(data.texts, data.prompts, data.weight)
    if isinstance(subject, LoggedPolicy) and source == "uniform":
        return ListedPolicy.equally(data.texts, data.prompts)
    return subject.policy if isinstance(subject, ModelPolicy) else None


def _log_prob(policy: Policy, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
    """Log-probabilities of any texts, shape [m], nats; -inf for a text that a policy over known texts does not know."""
    if not isinstance(policy, EnumerablePolicy | ChoiceSetPolicy) or not len(texts):
        return policy.log_prob(prompts, texts)
    if isinstance(policy, ChoiceSetPolicy):
        known = policy.knows(prompts or [], texts)
    else:
        candidates = set(policy.distribution(None if prompts is None else list(prompts[:1]))[0])
        known = [text in candidates for text in texts]
    some = [i for i, one in enumerate(known) if one]
    found = np.full(len(texts), -np.inf)
    if some:
        asked = None if prompts is None else [prompts[i] for i in some]
        found[some] = policy.log_prob(asked, [texts[i] for i in some])
    return found


def log_ratio(one: Float64, other: Float64) -> Float64:
    """Difference of log-probabilities, nats; zero for a text that neither policy writes, and for nothing else."""
    unknown = np.isnan(one) | np.isnan(other)
    if unknown.any():
        raise ModelError(f"a policy's log-probability of text {int(unknown.argmax())} is not a number")
    neither = np.isneginf(one) & np.isneginf(other)
    return np.subtract(one, other, out=np.zeros(len(one)), where=~neither)
