"""Tiny random language models with tokenizers and chat templates in the style of well-known families."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SENTENCES = [
    "Why is the sky blue? It scatters the light.", "system\nYou are brief.", "user\nWrite one line.", "assistant\nYes.",
    "user\n\nWrite it.\n", "model\nNo, not yet.", "Is it raining? It is not raining, no.", "skyline skyblue yes no\n\n",
]  # fmt: skip

LLAMA_3 = (
    "{{- bos_token }}{%- for m in messages %}{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
CHATML = (
    "{%- for m in messages %}{%- if loop.first and m['role'] != 'system' %}"
    "{{- '<|im_start|>system\nYou are brief.<|im_end|>\n' }}{%- endif %}"
    "{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
QWEN_3 = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n' + tools | tojson + '<|im_end|>\n' }}{%- endif %}"
    "{%- for m in messages %}"
    "{%- if m['role'] == 'assistant' and loop.last and not add_generation_prompt %}"
    "{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + m['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def words() -> Tokenizer:
    """As of GPT-2 and SmolLM: the last of several line breaks is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def lines() -> Tokenizer:
    """As of Llama 3 and Qwen: several line breaks are one token."""
    tokenizer = words()
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def pieces() -> Tokenizer:
    """As of Gemma: spaces are characters, merges cross words, and line breaks are tokens of their own."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512, "initializer_range": 0.3,
    "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """A family: its control tokens, their roles, its template and the ends that its generation settings name."""

    model: Callable[[Any], Any]
    config: Callable[..., Any]
    controls: tuple[str, ...]
    eos: str
    template: str | None
    turn_end: str
    bos: str | None = None
    ends: tuple[str, ...] = ()
    make: Callable[[], Tokenizer] = lines
    texts: tuple[str, ...] = ()
    rstrip: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    system: bool = True


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
HEADERS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
)  # fmt: skip
STYLES: dict[str, Style] = {
    "llama 3": Style(
        LlamaForCausalLM, LlamaConfig, HEADERS, "<|eot_id|>", LLAMA_3, "<|eot_id|>", "<|begin_of_text|>",
        ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
    ),
    "llama 3, base": Style(
        LlamaForCausalLM, LlamaConfig, HEADERS, "<|end_of_text|>", None, "<|end_of_text|>", "<|begin_of_text|>",
    ),
    "qwen 2.5": Style(
        Qwen2ForCausalLM, Qwen2Config, IM, "<|im_end|>", CHATML, "<|im_end|>", ends=("<|im_end|>", "<|endoftext|>"),
    ),
    "qwen 2.5, base": Style(
        Qwen2ForCausalLM, Qwen2Config, IM, "<|endoftext|>", CHATML, "<|im_end|>", ends=("<|endoftext|>",),
    ),
    "qwen 3": Style(
        Qwen3ForCausalLM, Qwen3Config, IM, "<|im_end|>", QWEN_3, "<|im_end|>", ends=("<|im_end|>", "<|endoftext|>"),
        texts=("<think>", "</think>"), arguments={"enable_thinking": False},
    ),
    "gemma": Style(
        GemmaForCausalLM, GemmaConfig, ("<pad>", "<bos>", "<eos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>", GEMMA, "<end_of_turn>", "<bos>", ("<eos>", "<end_of_turn>"), pieces, system=False,
    ),
    "phi": Style(
        Phi3ForCausalLM, Phi3Config, ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|endoftext|>", PHI, "<|end|>", "<s>", ("<|endoftext|>", "<|assistant|>", "<|end|>"), rstrip=True,
    ),
    "smollm": Style(LlamaForCausalLM, LlamaConfig, IM, "<|im_end|>", CHATML, "<|im_end|>", "<|im_start|>", make=words),
    "smollm, base": Style(
        LlamaForCausalLM, LlamaConfig, IM, "<|endoftext|>", None, "<|endoftext|>", "<|endoftext|>", make=words,
    ),
}  # fmt: skip


def tokenizer_of(style: Style) -> PreTrainedTokenizerFast:
    """Train a tokenizer of a family on a few sentences."""
    tokenizer = style.make()
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if style.make is pieces else []
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        min_frequency=1,
        special_tokens=[*style.controls, *bytes_],
        initial_alphabet=[] if bytes_ else sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bytes_:  # a trainer would make them control tokens
        again = style.make()
        again.model = models.BPE(
            vocab=tokenizer.get_vocab(), merges=_merges(tokenizer), byte_fallback=True, unk_token="<unk>", fuse_unk=True
        )
        tokenizer = again
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, rstrip=style.rstrip) for token in style.controls]
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in style.texts])
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=style.bos, eos_token=style.eos, pad_token=style.controls[0],
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    found.chat_template = style.template
    return found


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]  # type: ignore[misc]


def save_model(name: str, folder: Path, likely: float = 0.0) -> PreTrainedTokenizerFast:
    """Save a family's model and tokenizer to a folder, and return the tokenizer.

    With ``likely`` each of its ends is about as likely as that at every place, so that texts are short.
    """
    style = STYLES[name]
    tokenizer = tokenizer_of(style)
    torch.manual_seed(0)
    model = style.model(
        style.config(**SIZES, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=0, eos_token_id=1)
    )
    if likely:
        ids = tokenizer.convert_tokens_to_ids([*dict.fromkeys([style.turn_end, *style.ends])])
        with torch.no_grad():  # one direction of the residual stream is nearly constant
            model.get_input_embeddings().weight[:, 0] = 8.0
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[ids] = 0.0
            some = torch.randint(len(style.controls), len(tokenizer), (1, 30))
            while model(some).logits.softmax(-1)[..., ids[0]].mean() < likely:
                model.lm_head.weight[ids, 0] += 0.02
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_k=20, top_p=0.9, min_p=0.2, repetition_penalty=1.05,
        eos_token_id=tokenizer.convert_tokens_to_ids(list(style.ends)) if style.ends else None,
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer
