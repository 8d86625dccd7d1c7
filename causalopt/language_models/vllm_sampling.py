"""Texts drawn by vLLM (Kwon et al. 2023): the same distribution as `sampling.generate`, other draws for a seed."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftConfig

from causalopt.errors import ConfigError
from causalopt.language_models import smollm2
from causalopt.language_models.load import base_of
from causalopt.language_models.sampling import Ids, Keep, until
from causalopt.progress import track

_CHUNK = 1024
_RANKS = (8, 16, 32, 64, 128, 256, 512)  # what vLLM makes room for
_MEMORY = 0.4  # of the GPU, beside the model that trains
_engines: dict[tuple[Any, ...], Any] = {}  # one at most: it takes long to start, and much memory
_adapters = count(1)


def require_vllm() -> None:
    """Raise `ConfigError` when vLLM is not installed, there is no GPU, or there are several processes."""
    instead = "or set backend.sampling.engine to transformers"
    if find_spec("vllm") is None:
        raise ConfigError(f"backend.sampling.engine vllm is not installed: pip install 'causalopt[vllm]', {instead}")
    if not torch.cuda.is_available():
        raise ConfigError(f"backend.sampling.engine vllm needs a CUDA GPU: use a machine with one, {instead}")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError(f"backend.sampling.engine vllm works in one process alone: start no more, {instead}")


def generate(
    folder: Path,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    max_new_tokens: int,
    max_length: int,
    generator_seed: int,
    temperature: float = 1.0,
    keep: Keep | None = None,
) -> Ids:
    """Continue each prompt until an end or a limit, in float32.

    Parameters
    ----------
    folder:
        Folder of a saved policy: a PEFT adapter on a base with a name, or a full model.
    prompts, ends, max_new_tokens, max_length, temperature, keep:
        As `causalopt.language_models.sampling.generate` takes them.
    generator_seed:
        Seeds each text by itself.

    Returns
    -------
    list of list of int
        The new ids of each, with one of ``ends`` as the last one unless a limit was met.

    Raises
    ------
    ConfigError
        See `require_vllm`.
    """
    require_vllm()
    seeds = np.random.SeedSequence(generator_seed).generate_state(len(prompts)).tolist()
    requests = [
        (list(head), max(1, min(max_new_tokens, max_length - len(head))), seed)
        for head, seed in zip(prompts, seeds, strict=True)
    ]
    adapter = next(_adapters)
    drawn: Ids = []
    for start in track(range(0, len(requests), _CHUNK), "drawing texts"):
        chunk = requests[start : start + _CHUNK]
        draw = partial(_draw, folder, adapter, chunk, list(ends), max_length, temperature)
        drawn += draw() if keep is None else keep(["vllm", list(ends), chunk, temperature], draw)
    return drawn


def _draw(
    folder: Path,
    adapter: int,
    requests: list[tuple[list[int], int, int]],
    ends: list[int],
    max_length: int,
    temperature: float,
) -> Ids:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    engine, lora = _engine(folder, max_length), None
    if (folder / "adapter_config.json").is_file():
        lora = LoRARequest(f"policy-{adapter}", adapter, str(folder))
    params = [
        SamplingParams(
            n=1,
            temperature=temperature,
            top_p=1.0,
            top_k=-1,
            seed=seed,
            max_tokens=room,
            ignore_eos=True,  # it would stop at the tokenizer's end alone
            stop_token_ids=ends,
            detokenize=False,
        )
        for _, room, seed in requests
    ]
    heads = [{"prompt_token_ids": head} for head, _, _ in requests]
    outputs = engine.generate(heads, params, lora_request=lora, use_tqdm=False)
    new = [list(output.outputs[0].token_ids) for output in outputs]
    return [until(ends, ids) for ids in new]


def _engine(folder: Path, max_length: int) -> Any:
    """Return vLLM's engine of a policy's base, or of its full model."""
    from vllm import LLM

    model, rank = str(folder), None
    if (folder / "adapter_config.json").is_file():
        config = PeftConfig.from_pretrained(str(folder))
        base = base_of(folder)
        model = str(smollm2.smollm2_folder()) if base == smollm2.NAME else base
        rank = min(r for r in _RANKS if r >= config.r)
    key = (model, rank, max_length)
    if key not in _engines:
        _engines.clear()
        gc.collect()
        torch.cuda.empty_cache()
        more = {} if rank is None else {"enable_lora": True, "max_lora_rank": rank}
        _engines[key] = LLM(
            model=model,
            dtype="float32",
            max_model_len=max_length,
            gpu_memory_utilization=_MEMORY,
            skip_tokenizer_init=True,
            generation_config="vllm",
            **more,
        )
    return _engines[key]
