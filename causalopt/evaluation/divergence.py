"""KL(policy || reference): summed exactly if both are over known texts, else estimated on texts from the policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from causalopt.backends.contracts import ChoiceSetPolicy, EnumerablePolicy, Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.evaluation.policies import PROMPTS_AT_ONCE, Draws
from causalopt.typing import Float64

NEAR = 0.5
"""Effective share of the draws, weighted to the reference, at or above which the two distributions are close."""
FARTHEST = 300.0
"""Nats at which the reference's preference for a draw is truncated, so that its square fits into a float."""


@dataclass(frozen=True)
class Divergence:
    """KL(policy || reference), nats, and its Monte Carlo standard error, 0 if it is summed exactly."""

    kl: float
    se: float


def divergence(policy: Policy, reference: Policy, data: DirectOutcomeDataset, drawn: Draws) -> Divergence | None:
    """KL(policy || reference), nats, with prompts the mean over the rows' prompts; never negative.

    On draws x of the policy it is the mean of r = log P(x) - log P0(x). If the two distributions are close, exp(-r) - 1
    is added, which has mean zero and removes most of r's variance (the k3 estimator of Schulman 2020, "Approximating KL
    divergence"). If they are not, a few draws that P0 strongly prefers would dominate the mean of that term: it is left
    out if the weights exp(-r) have an effective sample size below half of the draws. A negative estimate is set to 0.

    Parameters
    ----------
    policy, reference:
        The two distributions.
    data:
        Rows whose prompts are averaged over, weighted by exposure.
    drawn:
        Texts drawn from the policy.

    Returns
    -------
    Divergence or None
        None if it is infinite: the policy writes a text that the reference never writes.
    """
    if isinstance(policy, EnumerablePolicy) and isinstance(reference, EnumerablePolicy):
        exact = _summed(policy, reference, data)
        if exact is not None:
            return Divergence(exact, 0.0) if np.isfinite(exact) else None
    if isinstance(policy, ChoiceSetPolicy) and isinstance(reference, ChoiceSetPolicy) and data.prompts is not None:
        return Divergence(_summed_choices(policy, reference, data), 0.0)
    log_prob_reference = reference.log_prob(drawn.prompts, drawn.texts)
    if np.isneginf(log_prob_reference).any():
        return None
    log_ratio = policy.log_prob(drawn.prompts, drawn.texts) - log_prob_reference
    share = np.ones(len(log_ratio)) if drawn.row is None else data.weight[drawn.row]
    share = share / share.sum()
    terms = log_ratio
    back = np.exp(np.minimum(-log_ratio, FARTHEST))
    if (share @ back) ** 2 > NEAR * (share @ back**2):
        terms = log_ratio + np.expm1(-log_ratio)
    kl = float(share @ terms)
    return Divergence(max(kl, 0.0), float(np.sqrt(share**2 @ (terms - kl) ** 2)))


def _summed(policy: EnumerablePolicy, reference: EnumerablePolicy, data: DirectOutcomeDataset) -> float | None:
    """Sum over all texts; None if the two policies are not over the same texts."""
    if data.prompts is None:
        found = _of_prompts(policy, reference, None)
        return None if found is None else max(float(found), 0.0)
    distinct = list(dict.fromkeys(data.prompts))
    blocks = [
        _of_prompts(policy, reference, distinct[start : start + PROMPTS_AT_ONCE])
        for start in range(0, len(distinct), PROMPTS_AT_ONCE)
    ]
    some = [block for block in blocks if block is not None]
    if len(some) < len(blocks):
        return None
    each = np.concatenate(some)
    position = {prompt: i for i, prompt in enumerate(distinct)}
    weight = np.bincount([position[prompt] for prompt in data.prompts], weights=data.weight, minlength=len(distinct))
    return max(float(np.average(each, weights=weight)), 0.0)


def _of_prompts(policy: EnumerablePolicy, reference: EnumerablePolicy, prompts: list[str] | None) -> Float64 | None:
    """KL given each of some prompts; None if the two policies are not over the same texts."""
    texts, log_prob = policy.distribution(prompts)
    others, log_prob_reference = reference.distribution(prompts)
    if texts != others:
        return None
    return np.asarray(np.sum(rel_entr(np.exp(log_prob), np.exp(log_prob_reference)), axis=-1))  # 0 log(0 / p) is 0


def _summed_choices(policy: ChoiceSetPolicy, reference: ChoiceSetPolicy, data: DirectOutcomeDataset) -> float:
    """Sum over the candidates of each prompt."""
    weight = pd.Series(data.weight).groupby(pd.Series(data.prompts), sort=False).sum()
    prompts = [str(prompt) for prompt in weight.index]
    texts, log_prob, of_prompt = policy.choices(prompts)
    other = reference.log_prob([prompts[c] for c in of_prompt], texts)
    share = (weight / weight.sum()).to_numpy()[of_prompt]
    return max(float(share @ (np.exp(log_prob) * (log_prob - other))), 0.0)
