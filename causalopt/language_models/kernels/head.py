"""Log-probabilities of target tokens from hidden states, without a [tokens, vocabulary] tensor.

With a frozen head, d log p_t / d h_t = W[y_t] - p_t W does not depend on what multiplies it later, so it is formed in
the forward pass, tile by tile of tokens and vocabulary: nothing is computed twice and nothing of the vocabulary's size
is kept. A head that trains is computed again in the backward pass, by chunks of tokens.
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
from causalopt.language_models.kernels.rounding import cast_once

CPU_COLUMNS = 4096
"""Entries of the vocabulary whose logits exist at one time on a CPU: with those of 256 tokens they stay in its cache,
which takes a third of the head's time away (one core of an AMD EPYC of 2024)."""


def target_log_prob(
    head: nn.Module,
    hidden: Tensor,
    target: Tensor,
    chunk: int = 256,
    columns: int | None = None,
    derivative_dtype: torch.dtype | None = None,
) -> Tensor:
    """Log-softmax of ``head(hidden)`` at the targets, in float32 or better.

    Parameters
    ----------
    head:
        The output layer, from width d to the vocabulary.
    hidden, target:
        Shapes [t, d] and [t].
    chunk, columns:
        Tokens, and entries of the vocabulary, whose logits exist at one time. A head that trains has all entries, and
        one that is frozen by default `CPU_COLUMNS` on a CPU and all on a GPU.
    derivative_dtype:
        What the derivative's products with a frozen head are computed in; as the logits' by default.

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
    >>> from causalopt.language_models.kernels.head import target_log_prob
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
        tile = chunk, columns or (CPU_COLUMNS if hidden.device.type == "cpu" else len(weight))
        log_prob: Tensor = _FrozenHead.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, target, tile, derivative_dtype
        )
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
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        tile: tuple[int, int],
        derivative_dtype: torch.dtype | None,
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        cast = cast_once(weight, dtype)  # which autocast would do anew for each tile, and twice
        bias = None if bias is None else bias.to(dtype)
        factor = cast_once(weight, derivative_dtype or dtype) if ctx.needs_input_grad[0] else None
        log_prob, derivative = [], []
        with torch.autocast(device, enabled=False):
            for h, y in zip(torch.split(hidden.to(dtype), tile[0]), torch.split(target, tile[0]), strict=True):
                of_chunk, d_chunk = _by_columns(h, y, cast, bias, tile[1], factor)
                log_prob.append(of_chunk)
                if d_chunk is not None:
                    derivative.append(d_chunk.to(hidden.dtype))
        if derivative:
            ctx.save_for_backward(torch.cat(derivative))
        return torch.cat(log_prob)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (derivative,) = ctx.saved_tensors
        return gradient[:, None].to(derivative.dtype) * derivative, None, None, None, None, None


def _by_columns(
    hidden: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None, columns: int, factor: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of targets, and their derivatives where ``factor`` is given: the weight as products take it.

    The softmax's sums are carried over blocks of the vocabulary: Milakov and Gimelshein 2018, "Online normalizer
    calculation for softmax", algorithm 3. The target's own term is kept out of them, since W[y] - p W is the small
    difference of two large vectors where the model is sure of y: (1 - p_y) W[y] - (p without y) W is not.
    """
    largest = _at_least_float32(hidden.new_full((len(hidden), 1), torch.finfo(hidden.dtype).min))
    of_target, others = torch.zeros_like(largest), torch.zeros_like(largest)
    weighted = None if factor is None else largest.new_zeros(hidden.shape)
    for first in range(0, len(weight), columns):
        block = slice(first, first + columns)
        logits = _at_least_float32(functional.linear(hidden, weight[block], None if bias is None else bias[block]))
        before, largest = largest, torch.maximum(largest, logits.amax(1, keepdim=True))
        shrink = (before - largest).exp_()
        column = target[:, None] - first
        inside = (column >= 0) & (column < logits.shape[1])
        column = column.clamp(0, logits.shape[1] - 1)
        own = logits.gather(1, column)
        of_target = torch.where(inside, own, of_target)
        logits.scatter_(1, column, own.masked_fill(inside, -torch.inf))
        odds = logits.sub_(largest).exp_()  # in place, and one exponential for both normaliser and derivative
        others = others * shrink + odds.sum(1, keepdim=True)
        if weighted is not None and factor is not None:
            weighted.mul_(shrink).add_(odds.to(factor.dtype) @ factor[block])
    total = others + (of_target - largest).exp()
    log_prob = (of_target - largest - total.log()).squeeze(1)
    return log_prob, None if weighted is None else (others * weight[target] - weighted) / total
