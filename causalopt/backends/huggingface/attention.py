"""Attention for short texts on a CPU, where PyTorch's fused kernel costs more than the products that it saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from causalopt.backends.huggingface.device import default_device

NAME = "sdpa_short"
"""What `attn_implementation` calls it."""
SHORT = 256
"""Tokens up to which attention is computed as two products and a softmax: there the fused kernel's backward pass is two
to seven times slower on a core (AMD EPYC of 2024), and a head's attention matrix is still smaller than its layer's
other activations."""


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Causal attention of whole short sequences by plain products, all else by transformers' "sdpa".

    Parameters
    ----------
    module:
        The attention layer.
    query, key, value:
        Shapes [batch, heads, tokens, width]; keys and values may have fewer heads.
    attention_mask:
        None where each token attends to itself and all before it.
    scaling, settings:
        As transformers hands them to "sdpa".

    Returns
    -------
    Tensor, None
        Shape [batch, tokens, heads, width], and no attention weights.
    """
    tokens = query.shape[2]
    short = query.device.type == "cpu" and attention_mask is None and tokens == key.shape[2] and 1 < tokens <= SHORT
    if not short or not _is_plain(module, settings):
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **settings
        )
        return result
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
    ahead = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).triu(1)
    share = scores.masked_fill(ahead, -torch.inf).softmax(-1)
    return (share.to(value.dtype) @ value).transpose(1, 2).contiguous(), None


def use_short_attention(model: PreTrainedModel) -> None:
    """Switch a model on a CPU whose attention is "sdpa" to `short_attention`; any other is left as it is."""
    if model.config._attn_implementation == "sdpa" and default_device().type == "cpu":
        model.set_attn_implementation(NAME)


def _is_plain(module: nn.Module, settings: Mapping[str, Any]) -> bool:
    """Whether attention is causal, and nothing but the products decides its scores."""
    causal = settings.get("is_causal")
    others = any(settings.get(name) is not None for name in ("position_bias", "softcap", "cache"))
    return bool(getattr(module, "is_causal", True) if causal is None else causal) and not (
        others or settings.get("dropout")
    )


AttentionInterface.register(NAME, short_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
