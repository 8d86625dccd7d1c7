"""One model and one set of texts, the same for every system that is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.language_models.kernels.attention import use_short_attention
from causalopt.language_models.load import prepare
from causalopt.language_models.tokenization import TextCodec, Tokens

LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
LONGEST = 128
"""Tokens to which the plain loop pads, as the paper's recipe does; no text is longer."""
PROMPT_WORDS = 4
SAMPLED_PER_ROW = 1
PAD, START, END = "<|pad|>", "<|start|>", "<|end|>"

# Weights are random: what a step costs depends on shapes alone.
SHAPES: dict[str, dict[str, Any]] = {
    "llama-4m": {
        "vocab_size": 8192,
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
    },
    "smollm2-135m": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "qwen2.5-0.5b": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "llama3.2-1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


@dataclass(frozen=True, eq=False)
class Workload:
    """What is trained on: ``steps`` optimiser steps of ``rows_per_step`` rows, each row with its sampled texts.

    Attributes
    ----------
    reference:
        The model with its tokenizer, frozen.
    problem:
        The rows, with random rewards; log-probabilities are those of the reference.
    label:
        Whether a row's text is desirable, which is all that KTO knows of an outcome.
    """

    reference: HuggingFacePolicy
    problem: PolicyProblem
    label: list[bool]
    rows_per_step: int
    steps: int

    def batches(self, *, sampled: bool) -> list[list[Tokens]]:
        """Sequences of each step: its logged texts, then their sampled ones."""
        codec, problem, size = self.reference.codec, self.problem, self.rows_per_step
        steps = [slice(i, i + size) for i in range(0, len(problem), size)]
        batches = [codec.encode(problem.prompts[step], problem.texts[step]) for step in steps]
        if sampled:
            for batch, step in zip(batches, steps, strict=True):
                batch += codec.encode(*_drawn(problem.prompts[step], problem.sampled_texts[step]))
        return batches

    def count(self, *, sampled: bool) -> tuple[int, int]:
        """Real tokens and sequences of all steps but the first, which no clock sees."""
        timed = self.batches(sampled=sampled)[1:]
        return sum(len(tokens.ids) for batch in timed for tokens in batch), sum(map(len, timed))


def make_reference(shape: str, context: int, seed: int = 0) -> HuggingFacePolicy:
    """Return a random Llama of a shape, with a tokenizer that makes each word one token."""
    sizes = SHAPES[shape]
    vocabulary = {PAD: 0, START: 1, END: 2} | {f"w{i}": i for i in range(3, sizes["vocab_size"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, bos_token=START, eos_token=END)
    config = LlamaConfig(
        **sizes,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    use_short_attention(model)  # as a model that is loaded by name
    prepare(model)
    return HuggingFacePolicy(model, TextCodec(tokenizer, context), base=None)


def natural_lengths(n: int, rng: np.random.Generator) -> list[int]:
    """Tokens of texts such as surveys and feeds have: lognormal, median 40, between 8 and 120."""
    return [int(length) for length in rng.lognormal(np.log(40), 0.6, n).clip(8, 120)]


def make_workload(
    reference: HuggingFacePolicy, *, rows_per_step: int, steps: int, length: int | None = None, seed: int = 0
) -> Workload:
    """Draw rows of random words, all with ``length`` tokens in all or with natural lengths."""
    rng = np.random.default_rng(seed)
    n, k = rows_per_step * steps, SAMPLED_PER_ROW
    given = PROMPT_WORDS + 2  # the prompt, the start and the end
    vocabulary = reference.model.config.vocab_size

    def words(lengths: list[int]) -> list[str]:
        return [" ".join(f"w{i}" for i in rng.integers(3, vocabulary, size)) for size in lengths]

    def texts(count: int) -> list[str]:
        return words(natural_lengths(count, rng) if length is None else [length - given] * count)

    prompts, logged, drawn = words([PROMPT_WORDS] * n), texts(n), texts(n * k)
    sampled = [drawn[i * k : (i + 1) * k] for i in range(n)]
    residual, g, sampled_g = rng.normal(size=n), rng.normal(size=n), rng.normal(size=(n, k))
    zeros, ones = np.zeros(n), np.ones(n)
    unscored = PolicyProblem(logged, prompts, zeros, residual, g, ones, sampled, sampled_g)
    problem = replace(unscored, behavior_log_prob=reference.log_prob(prompts, logged))
    return Workload(reference, problem, [bool(xi > 0) for xi in residual + g], rows_per_step, steps)


def _drawn(prompts: Sequence[str], sampled: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Flatten the sampled texts, each with its row's prompt."""
    pairs = [(prompt, text) for prompt, row in zip(prompts, sampled, strict=True) for text in row]
    return [prompt for prompt, _ in pairs], [text for _, text in pairs]
