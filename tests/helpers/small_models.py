"""Language models of several architectures, small enough for float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from causalopt.language_models.kernels.attention import SHORT

VOCABULARY = 50
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.3,  # far enough from 0 for attention to be uneven
    "attn_implementation": "sdpa",
}
SIZES: dict[str, Any] = {
    **COMMON,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2 * SHORT,
}
LEARNT: dict[str, Any] = {
    **COMMON,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 2 * SHORT,
    **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0),
}
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2, with biases": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    "a window of 6": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "positions that are learnt": lambda: GPT2LMHeadModel(GPT2Config(**LEARNT)),
}


def model_of(kind: str) -> Any:
    """A model with random weights, in float64, with transformers' own attention."""
    torch.manual_seed(0)
    return MODELS[kind]().double()
