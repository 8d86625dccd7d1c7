"""Log-probabilities of target tokens from hidden states, without a [tokens, vocabulary] tensor.

With a frozen head, d log p_t / d h_t = W[y_t] - p_t W does not depend on what multiplies it later, so it is formed in
the forward pass, chunk by chunk: nothing is computed twice and nothing of the vocabulary's size is kept. A head that
trains is computed again in the backward pass, chunk by chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from causalopt.errors import ModelError


def target_log_prob(head: nn.Module, hidden: Tensor, target: Tensor, chunk: int = 256) -> Tensor:
    """Log-softmax of ``head(hidden)`` at the targets, in float32 or better.

    Parameters
    ----------
    head:
        The output layer, from width d to the vocabulary.
    hidden, target:
        Shapes [t, d] and [t].
    chunk:
        Tokens whose logits exist at one time.

    Returns
    -------
    Tensor
        Shape [t], nats.

    Raises
    ------
    ModelError
        When a head that trains is sharded over processes apart from the model.

    Examples
    --------
    >>> import torch
    >>> from causalopt.backends.huggingface.head import target_log_prob
    >>> head = torch.nn.Linear(2, 4)
    >>> _ = torch.nn.init.zeros_(head.weight), torch.nn.init.zeros_(head.bias)
    >>> target_log_prob(head, torch.ones(1, 2), torch.tensor([3])).exp().round(decimals=4).tolist()
    [0.25]
    """
    trains = any(parameter.requires_grad for parameter in head.parameters())
    if trains and any(isinstance(parameter, DTensor) for parameter in head.parameters()):
        raise ModelError(
            "the output head trains and is sharded apart from the rest of the model: let FSDP wrap the transformer "
            "layers alone (fsdp_config.auto_wrap_policy: TRANSFORMER_BASED_WRAP)"
        )
    if isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward and not trains:
        weight, bias = _whole(head.weight), None if head.bias is None else _whole(head.bias)
        log_prob: Tensor = _FrozenHead.apply(hidden, weight, bias, target, chunk)  # type: ignore[no-untyped-call]
        return log_prob
    parts = zip(torch.split(hidden, chunk), torch.split(target, chunk), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([_log_prob(head, h, y) for h, y in parts])
    return torch.cat([checkpoint(_log_prob, head, h, y, use_reentrant=False) for h, y in parts])


def _whole(parameter: Tensor) -> Tensor:
    """Return a parameter with all its rows; processes that share it gather it together."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def _log_prob(head: nn.Module, hidden: Tensor, target: Tensor) -> Tensor:
    logits = _at_least_float32(head(hidden))
    return -functional.cross_entropy(logits, target, reduction="none")


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, chunk: int) -> Tensor:
        wants_gradient = ctx.needs_input_grad[0]
        log_prob, derivative = [], []
        device = hidden.device.type
        # Autocast would cast a frozen weight anew for each chunk, and twice.
        cast = weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight
        for h, y in zip(torch.split(hidden, chunk), torch.split(target, chunk), strict=True):
            logits = _at_least_float32(functional.linear(h, cast, bias))
            largest = logits.amax(1, keepdim=True)
            of_target = (logits.gather(1, y[:, None]) - largest).squeeze(1)
            odds = logits.sub_(largest).exp_()  # in place, and one exponential for both normaliser and derivative
            total = odds.sum(1, keepdim=True)
            log_prob.append(of_target - total.squeeze(1).log())
            if wants_gradient:
                mean = (odds.to(cast.dtype) @ cast).to(total.dtype) / total
                derivative.append((weight[y] - mean).to(hidden.dtype))
        if wants_gradient:
            ctx.save_for_backward(torch.cat(derivative))
        return torch.cat(log_prob)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (derivative,) = ctx.saved_tensors
        return gradient[:, None].to(derivative.dtype) * derivative, None, None, None, None
