"""KL(policy || reference): summed where both are over known texts, else on texts that the policy writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalopt.backends.contracts import EnumerablePolicy, Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.evaluation.policies import Draws

NEAR = 0.5
"""Effective share of the draws, as draws of the reference, from which the two laws are near."""
FARTHEST = 300.0
"""Nats by which the reference may prefer a draw before it is cut, so that its square is a float."""


@dataclass(frozen=True)
class Divergence:
    """KL(policy || reference), nats, and its Monte Carlo standard error, 0 where it is summed exactly."""

    kl: float
    se: float


def divergence(policy: Policy, reference: Policy, data: DirectOutcomeDataset, drawn: Draws) -> Divergence:
    """KL(policy || reference), with prompts the mean over the rows' prompts, nats; never negative.

    On draws x of the policy it is the mean of r = log P(x) - log P0(x). Where the two laws are near, exp(-r) - 1 is
    added, which has mean zero and takes away most of r's variance (the k3 estimator of Schulman 2020, "Approximating KL
    divergence"). Where they are not, a few draws that P0 prefers by far would decide that term's mean: it is left out
    when the weights exp(-r) have an effective sample size below half of the draws. What chance leaves below zero is 0.

    Parameters
    ----------
    policy, reference:
        The two laws.
    data:
        Rows whose prompts count, each by its exposure.
    drawn:
        Texts of the policy.
    """
    if isinstance(policy, EnumerablePolicy) and isinstance(reference, EnumerablePolicy):
        exact = _summed(policy, reference, data)
        if exact is not None:
            return Divergence(exact, 0.0)
    log_ratio = policy.log_prob(drawn.prompts, drawn.texts) - reference.log_prob(drawn.prompts, drawn.texts)
    share = np.ones(len(log_ratio)) if drawn.row is None else data.weight[drawn.row]
    share = share / share.sum()
    terms = log_ratio
    back = np.exp(np.minimum(-log_ratio, FARTHEST))
    if (share @ back) ** 2 > NEAR * (share @ back**2):
        terms = log_ratio + np.expm1(-log_ratio)
    kl = float(share @ terms)
    return Divergence(max(kl, 0.0), float(np.sqrt(share**2 @ (terms - kl) ** 2)))


def _summed(policy: EnumerablePolicy, reference: EnumerablePolicy, data: DirectOutcomeDataset) -> float | None:
    """Sum over all texts; None where the two are not over the same ones."""
    distinct = None if data.prompts is None else list(dict.fromkeys(data.prompts))
    texts, log_prob = policy.distribution(distinct)
    others, log_prob_reference = reference.distribution(distinct)
    if texts != others:
        return None
    each = np.sum(np.exp(log_prob) * (log_prob - log_prob_reference), axis=-1)
    if data.prompts is None or distinct is None:
        return max(float(each), 0.0)
    position = {prompt: i for i, prompt in enumerate(distinct)}
    weight = np.bincount([position[prompt] for prompt in data.prompts], weights=data.weight, minlength=len(distinct))
    return max(float(np.average(each, weights=weight)), 0.0)
