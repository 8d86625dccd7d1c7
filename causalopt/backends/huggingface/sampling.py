"""Texts drawn from a policy: batched generation with left padding, seeded, from the distribution itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig

from causalopt.backends.huggingface.scoring import CausalLM
from causalopt.progress import track


@torch.inference_mode()
def generate(
    model: CausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    end: int,
    max_new_tokens: int,
    max_length: int,
    batch_size: int,
    generator_seed: int,
) -> list[list[int]]:
    """Continue each prompt until its end or a limit.

    Parameters
    ----------
    model:
        In inference mode.
    prompts:
        Token ids, none of them empty.
    end:
        Id of the token that ends a text.
    max_new_tokens, max_length:
        Limits in tokens, without and with the prompt; each counts the end.
    batch_size:
        Texts drawn at one time; another size gives other draws.
    generator_seed:
        Seeds the draws; the global random state is put back afterwards.

    Returns
    -------
    list of list of int
        The new ids of each, with ``end`` as the last one unless a limit was met.
    """
    drawn: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # like lengths together: little padding
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator_seed)
        for batch in track(batches, "drawing texts"):
            width = max(len(prompts[i]) for i in batch)
            ids = torch.tensor([[end] * (width - len(prompts[i])) + list(prompts[i]) for i in batch])
            mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in batch])
            config = GenerationConfig(
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                eos_token_id=end,
                pad_token_id=end,
                use_cache=True,
                max_new_tokens=max(1, min(max_new_tokens, max_length - width)),
            )
            output = model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
            )
            for i, new in zip(batch, output[:, width:].tolist(), strict=True):
                drawn[i] = new[: new.index(end) + 1] if end in new else new
    return drawn
