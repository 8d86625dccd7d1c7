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
from causalopt.language_models.memory import in_parts_that_fit
from causalopt.language_models.scoring import CausalLM
from causalopt.progress import track

_BLOCK = 256
BATCH, BATCH_TOKENS = 256, 2**15
"""Largest number of texts that are drawn at one time by default, and of their tokens, prompts included.

On one CPU core 210 texts of SmolLM2-135M took 0.70 of the time that they took 64 at a time: weights are read for each
step, whatever the number of texts."""
Ids = list[list[int]]
Continuation = Callable[[CausalLM, Ids, list[int], list[int], float, list[int]], Ids]
Keep = Callable[[list[Any], Callable[[], Ids]], Ids]
"""``keep(parts, compute)`` returns what ``compute`` gives, from where it is kept under ``parts`` if it is there."""


def generate(
    model: CausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    max_length: int,
    generator_seed: int,
    batch_size: int | None = None,
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
    generator_seed:
        Seeds the draws, each text by itself; the global random state is put back afterwards.
    batch_size:
        Texts drawn at one time, None for as many as `BATCH` and `BATCH_TOKENS` allow. A text does not depend on those
        that are drawn with it, except through the last bits of its logits. Where a GPU has no memory for them, fewer
        are drawn at one time.
    temperature:
        By which logits are divided; 1 draws from the model itself.
    keep:
        Keeps each batch as soon as it is drawn; None draws them all.

    Returns
    -------
    list of list of int
        The new ids of each, with one of ``ends`` as the last one unless a limit was met.

    Raises
    ------
    ModelError
        If a GPU has no memory for a single text.
    """
    drawn: Ids = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # like lengths together: little padding
    rooms = [max(1, min(max_new_tokens, max_length - len(prompt))) for prompt in prompts]
    seeds = np.random.SeedSequence(generator_seed).generate_state(len(prompts)).tolist()
    continuation = cache(lambda: _continue if _keeps_keys_and_values(model, ends[0]) else _generate)

    def draw(batch: list[int]) -> Ids:
        heads = [list(prompts[i]) for i in batch]
        room, seed = [rooms[i] for i in batch], [seeds[i] for i in batch]
        compute = partial(_draw, continuation, model, heads, list(ends), room, temperature, seed)
        return compute() if keep is None else keep([heads, list(ends), room, temperature, seed], compute)

    longest = max((len(prompt) + room for prompt, room in zip(prompts, rooms, strict=True)), default=1)
    size = batch_size or max(1, min(BATCH, BATCH_TOKENS // longest))
    parts = in_parts_that_fit(order, size, draw, "drawing texts", "lower backend.sampling.max_new_tokens")
    for batch, found in track(parts, "drawing texts", total=-(-len(order) // size)):
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
    rooms: list[int],
    temperature: float,
    seeds: list[int],
) -> Ids:
    """Continue the prompts of one batch."""
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        return continuation()(model, heads, ends, rooms, temperature, seeds)


@torch.inference_mode()
def _keeps_keys_and_values(model: CausalLM, token: int) -> bool:
    """Whether what the model remembers of a text are keys and values alone, which can be selected text by text."""
    ids = torch.full((1, 1), token, device=model.device)
    return type(model(input_ids=ids, use_cache=True).past_key_values) is DynamicCache


def _continue(
    model: CausalLM, heads: Ids, ends: list[int], rooms: list[int], temperature: float, seeds: list[int]
) -> Ids:
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
    stops, room = torch.tensor(ends, device=device), torch.tensor(rooms, device=device)
    # Each text has random numbers of its own, two for each of its tokens, so that it is the same in any company.
    numbers = np.stack([np.random.default_rng(seed).random((max(rooms), 2)) for seed in seeds])
    uniform = torch.from_numpy(numbers).to(device)
    drawn: Ids = [[] for _ in heads]
    going = list(range(len(heads)))
    for step in range(max(rooms)):
        mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
        output = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=mask.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        token = _drawn(output.logits[:, -1], temperature, uniform[:, step])
        for i, one in zip(going, token.tolist(), strict=True):
            drawn[i].append(one)
        left = (torch.isin(token, stops, invert=True) & (room > step + 1)).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) < len(token):
            cache.batch_select_indices(left)
            token, mask, going = token[left], mask[left], [going[i] for i in left.tolist()]
            room, uniform = room[left], uniform[left]
    return drawn


def _drawn(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Draw a token from each row of ``logits``, whose memory is used: first a block of the vocabulary, then its entry.

    ``uniform`` [n, 2] are random numbers from 0 to 1. `torch.multinomial` takes one for every entry, which was a fifth
    of the time of drawing on a CPU.
    """
    weight = logits.float().div_(temperature)
    weight = weight.sub_(weight.amax(-1, keepdim=True)).exp_()
    if weight.shape[1] % _BLOCK:
        weight = nn.functional.pad(weight, (0, -weight.shape[1] % _BLOCK))
    blocks = weight.view(len(weight), -1, _BLOCK)
    block = _inverted(blocks.sum(-1), uniform[:, :1])
    return block * _BLOCK + _inverted(blocks[torch.arange(len(blocks), device=blocks.device), block], uniform[:, 1:])


def _inverted(weight: Tensor, uniform: Tensor) -> Tensor:
    """Draw a position from each row in proportion to ``weight``, by inversion; a weight of zero is never drawn."""
    cumulated = weight.cumsum(-1, dtype=torch.float64)
    position = torch.searchsorted(cumulated, uniform * cumulated[:, -1:], right=True)
    return position.clamp(max=weight.shape[1] - 1)[:, 0]


def _generate(
    model: CausalLM, heads: Ids, ends: list[int], rooms: list[int], temperature: float, seeds: list[int]
) -> Ids:
    """Let transformers continue the prompts, whatever the model remembers; draws are those of the batch."""
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
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
        max_new_tokens=max(rooms),
    )
    with _no_settings_of_its_own(model):
        output = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
    return [until(ends, new[:room]) for new, room in zip(output[:, width:].tolist(), rooms, strict=True)]


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
