"""Attention for short texts on a CPU, where PyTorch's fused kernel costs more than the products that it saves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from causalopt.errors import CausalOptWarning
from causalopt.language_models.device import default_device
from causalopt.language_models.kernels.causal_attention import Runs, causal_attention

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
    runs: Runs | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Causal attention of whole short texts, and of one more token of each text; all else by transformers' "sdpa".

    Parameters
    ----------
    module:
        The attention layer.
    query, key, value:
        Shapes [batch, heads, tokens, width]; keys and values may have fewer heads.
    attention_mask:
        None where each token attends to itself and all before it. Where texts are packed it says so too, as
        transformers makes it from their positions.
    runs:
        Texts that are packed into a batch of one.
    scaling, settings:
        As transformers hands them to "sdpa".

    Returns
    -------
    Tensor, None
        Shape [batch, tokens, heads, width], and no attention weights.
    """
    batch, _, tokens, width = query.shape
    if tokens == 1 and runs is None and query.device.type == "cpu" and _is_plain(module, settings):
        return _next_token(query, key, value, attention_mask, width**-0.5 if scaling is None else scaling), None
    if runs is None and attention_mask is None and tokens == key.shape[2]:
        runs = ((batch, tokens),)
    if runs is None or query.device.type != "cpu" or not _are_short(runs) or not _is_plain(module, settings):
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **settings
        )
        return result
    flat_query, flat_key, flat_value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    mixed = causal_attention(flat_query, flat_key, flat_value, runs, width**-0.5 if scaling is None else scaling)
    return mixed.view(batch, tokens, *mixed.shape[1:]), None


def _next_token(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention of the last token of each text to all of them, shape [batch, 1, heads, width].

    The fused kernel took a fifth of the time of drawing, with each key copied for every query that shares it.
    """
    batch, heads, _, width = key.shape
    shared = query.reshape(batch, heads, -1, width)  # [batch, heads of keys, queries of each, width]
    score = shared @ key.transpose(2, 3) * scaling
    if mask is not None:
        score = score.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else score + mask
    mixed: Tensor = score.softmax(-1) @ value
    return mixed.flatten(1, 2)[:, None]


def use_short_attention(model: PreTrainedModel) -> None:
    """Switch a model on a CPU whose attention is "sdpa" to `short_attention`; any other is left as it is."""
    if model.config._attn_implementation == "sdpa" and default_device().type == "cpu":
        model.set_attn_implementation(NAME)


def on_any_machine(name: str | None) -> str | None:
    """Return the implementation that a saved policy noted if every machine has it; None for this machine's own choice.

    Warns
    -----
    CausalOptWarning
        If another one was asked for when the policy was saved.
    """
    if name in ("eager", "sdpa"):
        return name
    if name not in (None, NAME):
        warnings.warn(
            f"the policy was saved with the attention {name!r}, and is loaded with this machine's own choice",
            CausalOptWarning,
            stacklevel=3,
        )
    return None


def _are_short(runs: Runs) -> bool:
    return 1 < max(tokens for _, tokens in runs) <= SHORT


def _is_plain(module: nn.Module, settings: Mapping[str, Any]) -> bool:
    """Whether attention is causal, and nothing but the products decides its scores."""
    causal = settings.get("is_causal")
    others = any(settings.get(name) is not None for name in ("position_bias", "softcap", "cache", "s_aux"))
    window = settings.get("sliding_window")
    others = others or (window is not None and window < SHORT)
    return bool(getattr(module, "is_causal", True) if causal is None else causal) and not (
        others or settings.get("dropout")
    )


AttentionInterface.register(NAME, short_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
