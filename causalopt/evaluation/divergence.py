"""KL(policy || reference): summed where both are over known texts, else on texts that the policy writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalopt.backends.contracts import EnumerablePolicy, Policy
from causalopt.dataset import DirectOutcomeDataset
from causalopt.evaluation.policies import Draws


@dataclass(frozen=True)
class Divergence:
    """KL(policy || reference), nats, and its Monte Carlo standard error, 0 where it is summed exactly."""

    kl: float
    se: float


def divergence(policy: Policy, reference: Policy, data: DirectOutcomeDataset, drawn: Draws) -> Divergence:
    """KL(policy || reference), with prompts the mean over the rows' prompts, nats; never negative.

    On draws x of the policy, with r = log P(x) - log P0(x), it is the mean of r + exp(-r) - 1: the part exp(-r) - 1 has
    mean zero, makes every term non-negative, and takes away most of r's variance where the two are near (the k3
    estimator of Schulman 2020, "Approximating KL divergence").

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
    with np.errstate(over="ignore"):  # a text that the reference writes more often by more than a float can hold
        terms = log_ratio + np.expm1(np.minimum(-log_ratio, 700.0))
    share = np.ones(len(terms)) if drawn.row is None else data.weight[drawn.row]
    share = share / share.sum()
    kl = float(share @ terms)
    return Divergence(kl, float(np.sqrt(share**2 @ (terms - kl) ** 2)))


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
