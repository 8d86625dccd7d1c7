"""Metrics of one optimiser step, from the scalars of its whole window."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from causalopt.objectives.contract import ObjectiveInputs


def policy_metrics(
    inputs: ObjectiveInputs,
    data_log_prob: Tensor,
    clip_fraction: Callable[[ObjectiveInputs], float | None] = lambda inputs: None,
) -> dict[str, float]:
    """Compute the metrics of the policy on a window.

    Parameters
    ----------
    inputs:
        The scalars of the window.
    data_log_prob:
        log P^f of the window's logged texts, shape [n], nats.
    clip_fraction:
        The objective's method; by default nothing is clipped.

    Returns
    -------
    dict
        ``weights/ess`` (Kish's effective sample size of the window) and ``weights/max`` (the largest share of one row
        in the window's weight), both for the ratio to the behavior policy; ``weights/clip_fraction`` (share of the
        logged weight whose ratio the objective clips or truncates); ``logps/data`` and ``logps/sampled`` (mean
        log-probability of a text, nats); ``forward_kl`` (KL(reference || policy), nats, on texts drawn from the
        reference: the mean of ``rho - 1 - log rho``). KL(policy || reference) would need texts drawn from the policy.
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


def beside_the_bar(metrics: Mapping[str, float], tokens_per_second: float) -> str:
    """Show the metrics of a step that say whether a fit goes well.

    Examples
    --------
    >>> from causalopt.backends.huggingface.metrics import beside_the_bar
    >>> beside_the_bar({"loss": -0.25, "forward_kl": 0.031, "weights/ess": 12.4}, 810.0)
    'loss -0.25, KL 0.031, effective sample 12.4, 810 tokens/s'
    """
    names = {"loss": "loss", "forward_kl": "KL", "weights/ess": "effective sample"}
    shown = [f"{label} {metrics[name]:.3g}" for name, label in names.items() if name in metrics]
    return ", ".join([*shown, f"{tokens_per_second:.0f} tokens/s"])


def likelihood_metrics(inputs: ObjectiveInputs, data_log_prob: Tensor) -> dict[str, float]:
    """Compute ``logps/data``, the weighted mean log-probability of a logged text, nats; see `policy_metrics`."""
    weight = inputs.weight.double()
    return {"logps/data": float((weight * data_log_prob).sum() / weight.sum())}
