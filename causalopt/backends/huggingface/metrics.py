"""What one optimiser step reports, from the scalars of its whole window."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from causalopt.objectives.contract import ObjectiveInputs


def policy_metrics(
    inputs: ObjectiveInputs,
    data_log_prob: Tensor,
    clip_fraction: Callable[[ObjectiveInputs], float | None] = lambda inputs: None,
) -> dict[str, float]:
    """Describe where the policy stands.

    Parameters
    ----------
    inputs:
        The scalars of the window.
    data_log_prob:
        log P^f of its logged texts, shape [n], nats.
    clip_fraction:
        The objective's own; without one nothing is clipped.

    Returns
    -------
    dict
        ``weights/ess`` (effective rows of the window, Kish) and ``weights/max`` (the largest share one row has of the
        window's weight), both of the ratio to the behavior policy; ``weights/clip_fraction`` (share of the logged
        weight whose ratio the objective clips or truncates); ``logps/data`` and ``logps/sampled`` (mean
        log-probability of a text, nats); ``forward_kl`` (KL of the reference to the policy, nats, on the texts that the
        reference drew: the mean of ``rho - 1 - log rho``). KL of the policy to the reference needs texts of the policy.
    """
    weight = inputs.weight.double()
    share = (inputs.log_ratio.double() + weight.log()).softmax(0)
    metrics = likelihood_metrics(inputs, data_log_prob)
    inputs = inputs.of_reference()
    metrics |= {"weights/ess": 1.0 / float(share.square().sum()), "weights/max": float(share.max())}
    clipped = clip_fraction(inputs)
    if clipped is not None:
        metrics["weights/clip_fraction"] = clipped
    if len(inputs.sampled_weight):
        log_ratio = inputs.sampled_log_ratio.double()
        part = inputs.sampled_weight.double() / inputs.sampled_weight.double().sum()
        metrics["forward_kl"] = float((part * (log_ratio.expm1() - log_ratio)).sum())
        metrics["logps/sampled"] = float((part * (log_ratio + inputs.sampled_reference_log_prob)).sum())
    return metrics


def likelihood_metrics(inputs: ObjectiveInputs, data_log_prob: Tensor) -> dict[str, float]:
    """``logps/data``: weighted mean log-probability of a logged text, nats; arguments as in `policy_metrics`."""
    weight = inputs.weight.double()
    return {"logps/data": float((weight * data_log_prob).sum() / weight.sum())}
