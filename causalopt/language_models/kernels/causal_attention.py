"""Causal attention within packed texts, by matrix products: no token of padding, and no mask to read."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Runs: TypeAlias = tuple[tuple[int, int], ...]
"""Packed texts: for each run of equally long ones, how many there are and how many tokens each has."""


def causal_attention(query: Tensor, key: Tensor, value: Tensor, runs: Runs, scaling: float) -> Tensor:
    """Let each token attend to itself and to those before it in its own text.

    Parameters
    ----------
    query, key, value:
        Shapes [tokens, heads, width]; keys and values may have fewer heads, each for as many of the queries'.
    runs:
        Their tokens, all of them, in order.
    scaling:
        What scores are multiplied by before the softmax.

    Returns
    -------
    Tensor
        Shape [tokens, heads, width of values], in the values' dtype; computed in float32 at least.

    Examples
    --------
    >>> import torch
    >>> from causalopt.language_models.kernels.causal_attention import causal_attention
    >>> value = torch.tensor([1.0, 3.0, 7.0]).view(3, 1, 1)
    >>> causal_attention(torch.zeros(3, 1, 4), torch.zeros(3, 1, 4), value, ((1, 2), (1, 1)), 0.5).flatten().tolist()
    [1.0, 2.0, 7.0]
    """
    result: Tensor = _CausalAttention.apply(query, key, value, runs, scaling)  # type: ignore[no-untyped-call]
    return result


class _CausalAttention(torch.autograd.Function):
    """softmax(scaling Q K' + mask) V for each text, and its derivative; queries that share a key are one product."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, runs: Runs, scaling: float) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(query.dtype, value.dtype), torch.float32)
        groups, longest = key.shape[1], max(tokens for _, tokens in runs)
        ahead = torch.ones(longest, longest, dtype=torch.bool, device=query.device).triu(1)
        result = value.new_empty(*query.shape[:2], value.shape[2])
        kept: list[Tensor] = []
        with torch.autocast(query.device.type, enabled=False):
            for rows, count, tokens in _spans(runs):
                q, k, v = (_by_group(part[rows].to(dtype), count, groups) for part in (query, key, value))
                scores = torch.bmm(q, k.transpose(1, 2)).mul_(scaling)
                scores.view(len(scores), -1, tokens, tokens).masked_fill_(ahead[:tokens, :tokens], -torch.inf)
                share = scores.softmax(-1)
                mixed = torch.bmm(share, v)
                result[rows] = _by_token(mixed, count, tokens)
                kept += [q, k, v, share, mixed]
        ctx.save_for_backward(*kept)
        ctx.runs, ctx.scaling = runs, scaling
        ctx.like = [(part.shape, part.dtype) for part in (query, key, value)]
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        d_query, d_key, d_value = (gradient.new_empty(shape, dtype=dtype) for shape, dtype in ctx.like)
        with torch.autocast(gradient.device.type, enabled=False):
            for i, (rows, count, tokens) in enumerate(_spans(ctx.runs)):
                q, k, v, share, mixed = ctx.saved_tensors[5 * i : 5 * i + 5]
                d_mixed = _by_group(gradient[rows].to(q.dtype), count, d_key.shape[1])
                d_value[rows] = _by_token(torch.bmm(share.transpose(1, 2), d_mixed), count, tokens)
                # Of the softmax: P (dP - sum of P dP), and the sum is that of dO O.
                d_scores = torch.bmm(d_mixed, v.transpose(1, 2)).sub_((d_mixed * mixed).sum(-1, keepdim=True))
                d_scores.mul_(share).mul_(ctx.scaling)
                d_query[rows] = _by_token(torch.bmm(d_scores, k), count, tokens)
                d_key[rows] = _by_token(torch.bmm(d_scores.transpose(1, 2), q), count, tokens)
        return d_query, d_key, d_value, None, None


def _spans(runs: Runs) -> list[tuple[slice, int, int]]:
    """Tokens of each run, how many texts it has, and how long they are."""
    spans, start = [], 0
    for count, tokens in runs:
        spans.append((slice(start, start + count * tokens), count, tokens))
        start += count * tokens
    return spans


def _by_group(part: Tensor, count: int, groups: int) -> Tensor:
    """From [texts and tokens, heads, width] to [texts and groups, heads of a group and tokens, width]."""
    heads, width = part.shape[1:]
    apart = part.reshape(count, -1, groups, heads // groups, width).permute(0, 2, 3, 1, 4)
    return apart.reshape(count * groups, -1, width)


def _by_token(part: Tensor, count: int, tokens: int) -> Tensor:
    """Undo `_by_group`."""
    groups, width = len(part) // count, part.shape[2]
    apart = part.view(count, groups, -1, tokens, width).permute(0, 3, 1, 2, 4)
    return apart.reshape(count * tokens, -1, width)
