"""Texts drawn from a policy: batched generation with left padding, seeded, from the distribution itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig

from causalopt.language_models.kernels.matmul import fast_products
from causalopt.language_models.scoring import CausalLM
from causalopt.progress import track

_BLOCK = 256
Ids = list[list[int]]
Continuation = Callable[[CausalLM, Ids, list[int], int, float], Ids]
Keep = Callable[[list[Any], Callable[[], Ids]], Ids]
"""``keep(parts, compute)`` returns what ``compute`` gives, from where it is kept under ``parts`` if it is there."""


def generate(
    model: CausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    max_length: int,
    batch_size: int,
    generator_seed: int,
    temperature: float = 1.0,
    keep: Keep | None = None,
) -> Ids:
    """Continue each prompt until an end or a limit.

    Parameters
    ----------
    model:
        In inference mode.
    prompts:
        Token ids, none of them empty.
    ends:
        Ids of the tokens that end a text, at least one.
    max_new_tokens, max_length:
        Limits in tokens, without and with the prompt; each counts the end.
    batch_size:
        Texts drawn at one time; another size gives other draws.
    generator_seed:
        Seeds the draws, each batch by itself; the global random state is put back afterwards.
    temperature:
        By which logits are divided; 1 draws from the model itself.
    keep:
        Keeps each batch as soon as it is drawn; None draws them all.

    Returns
    -------
    list of list of int
        The new ids of each, with one of ``ends`` as the last one unless a limit was met.
    """
    drawn: Ids = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # like lengths together: little padding
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    seeds = np.random.SeedSequence(generator_seed).generate_state(len(batches)).tolist()
    continuation = cache(lambda: _continue if _keeps_keys_and_values(model, ends[0]) else _generate)
    for batch, seed in track([*zip(batches, seeds, strict=True)], "drawing texts"):
        heads = [list(prompts[i]) for i in batch]
        room = max(1, min(max_new_tokens, max_length - max(len(head) for head in heads)))
        draw = partial(_draw, continuation, model, heads, list(ends), room, seed, temperature)
        found = draw() if keep is None else keep([heads, list(ends), room, seed, temperature], draw)
        for i, ids in zip(batch, found, strict=True):
            drawn[i] = ids
    return drawn


@fast_products()
@torch.inference_mode()
def _draw(
    continuation: Callable[[], Continuation],
    model: CausalLM,
    heads: Ids,
    ends: list[int],
    max_new_tokens: int,
    seed: int,
    temperature: float,
) -> Ids:
    """Continue the prompts of one batch."""
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return continuation()(model, heads, ends, max_new_tokens, temperature)


@torch.inference_mode()
def _keeps_keys_and_values(model: CausalLM, token: int) -> bool:
    """Whether what the model remembers of a text are keys and values alone, which can be selected text by text."""
    ids = torch.full((1, 1), token, device=model.device)
    return type(model(input_ids=ids, use_cache=True).past_key_values) is DynamicCache


def _continue(model: CausalLM, heads: Ids, ends: list[int], max_new_tokens: int, temperature: float) -> Ids:
    """Read each distinct prompt once, and go on with the texts that have not ended: finished ones cost nothing."""
    distinct = {head: k for k, head in enumerate(dict.fromkeys(tuple(head) for head in heads))}
    width = max(len(head) for head in distinct) - 1
    device = model.device
    row = torch.tensor([distinct[tuple(head)] for head in heads], device=device)
    # All but the last token of a prompt: its own output is the first of the text.
    mask = torch.tensor([[0] * (width + 1 - len(head)) + [1] * (len(head) - 1) for head in distinct], device=device)
    cache = None
    if width:
        ids = torch.tensor([[ends[0]] * (width + 1 - len(head)) + list(head[:-1]) for head in distinct], device=device)
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        position = (mask.cumsum(1) - 1).clamp(min=0)
        cache = base.base_model(
            input_ids=ids, attention_mask=mask, position_ids=position, use_cache=True
        ).past_key_values
        cache.batch_select_indices(row)
    mask = mask[row].long()
    token = torch.tensor([head[-1] for head in heads], device=device)
    stops = torch.tensor(ends, device=device)
    drawn: Ids = [[] for _ in heads]
    going = list(range(len(heads)))
    for _ in range(max_new_tokens):
        mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
        output = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=mask.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        token = _drawn(output.logits[:, -1], temperature)
        for i, one in zip(going, token.tolist(), strict=True):
            drawn[i].append(one)
        left = torch.isin(token, stops, invert=True).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) < len(token):
            cache.batch_select_indices(left)
            token, mask, going = token[left], mask[left], [going[i] for i in left.tolist()]
    return drawn


def _drawn(logits: Tensor, temperature: float) -> Tensor:
    """Draw a token from each row of ``logits``, whose memory is used: first a block of the vocabulary, then its entry.

    `torch.multinomial` takes a random number for every entry, which was a fifth of the time of drawing on a CPU.
    """
    weight = logits.float().div_(temperature)
    weight = weight.sub_(weight.amax(-1, keepdim=True)).exp_()
    if weight.shape[1] % _BLOCK:
        weight = nn.functional.pad(weight, (0, -weight.shape[1] % _BLOCK))
    blocks = weight.view(len(weight), -1, _BLOCK)
    block = _inverted(blocks.sum(-1))
    return block * _BLOCK + _inverted(blocks[torch.arange(len(blocks), device=blocks.device), block])


def _inverted(weight: Tensor) -> Tensor:
    """Draw a position from each row in proportion to ``weight``, by inversion; a weight of zero is never drawn."""
    cumulated = weight.cumsum(-1, dtype=torch.float64)
    uniform = torch.rand(len(weight), 1, dtype=torch.float64, device=weight.device)
    position = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
    return position.clamp(max=weight.shape[1] - 1)[:, 0]


def _generate(model: CausalLM, heads: Ids, ends: list[int], max_new_tokens: int, temperature: float) -> Ids:
    """Let transformers continue the prompts, whatever the model remembers."""
    width = max(len(head) for head in heads)
    ids = torch.tensor([[ends[0]] * (width - len(head)) + head for head in heads])
    mask = torch.tensor([[0] * (width - len(head)) + [1] * len(head) for head in heads])
    config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        eos_token_id=ends,
        pad_token_id=ends[0],
        use_cache=True,
        max_new_tokens=max_new_tokens,
    )
    with _no_settings_of_its_own(model):
        output = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
    return [until(ends, new) for new in output[:, width:].tolist()]


@contextmanager
def _no_settings_of_its_own(model: CausalLM) -> Iterator[None]:
    """Set aside a model's own generation settings (top-k, a repetition penalty), which transformers would fill in."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own


def until(ends: list[int], ids: list[int]) -> list[int]:
    """Return ids up to the first end."""
    return next((ids[: i + 1] for i, one in enumerate(ids) if one in ends), ids)


def own_ends(model: CausalLM) -> list[int]:
    """Ids of the tokens at which a model's own generation settings end a text; none if they name none."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    named = base.generation_config.eos_token_id
    return [] if named is None else [named] if isinstance(named, int) else [int(one) for one in named]
