"""Folders for other software: the adapter with its base, or both merged into one model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoConfig, GenerationConfig

from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.errors import ConfigError, ModelError
from causalopt.language_models import smollm2
from causalopt.language_models.load import adapter_names, base_of
from causalopt.language_models.quantization import quantization_of
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.shared_weights import leave_origin

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
TOLERANCE = 0.05
"""Largest difference of a text's log-probability by the merged model and by the adapter, nats per token."""


def write_adapter(source: Path, target: Path) -> None:
    """Save an adapter so that it needs nothing else but what is on a model hub.

    A base that is no hub id (a local folder, ``smollm2``) is written beside it, in its own dtype. A policy without an
    adapter is saved as it is.

    Parameters
    ----------
    source:
        Folder of a saved policy.
    target:
        A new folder.
    """
    policy = HuggingFacePolicy.load(source)
    model, base = _own(policy.model), policy.base
    if isinstance(model, PeftModel) and not _is_on_a_hub(base):
        if quantization_of(model) is not None:
            raise ConfigError(
                f"{source}: its base {base!r} is in 4 bits and is not written beside it; copy both folders"
            )
        adapter, dtype, base = adapter_names(model), _dtype_of(source), None
        for name, weight in model.named_parameters():
            if name not in adapter:
                weight.data = weight.data.to(dtype)  # as it was read: nothing is rounded
        model.get_base_model().generation_config = _generation_of(base_of(source))
    HuggingFacePolicy(model, policy.codec, base=base, sampling=policy.sampling).save(target)


def _is_on_a_hub(base: str | None) -> bool:
    return base is not None and base != smollm2.NAME and not Path(base).is_dir()


def write_merged(
    source: Path, target: Path, prompts: Sequence[str] | None, texts: Sequence[str], dtype: Dtype = "auto"
) -> float:
    """Merge an adapter into its base, and save a model that transformers and vLLM load without peft.

    Products are added in float32, and the sum is rounded once.

    Parameters
    ----------
    source:
        Folder of a saved policy.
    target:
        A new folder.
    prompts, texts:
        Texts on which the model that was written is compared with the adapter, with their prompts.
    dtype:
        Of the weights that are written; "auto" is the base's own.

    Returns
    -------
    float
        The largest difference of a text's log-probability by the two, nats per token; at most `TOLERANCE`.

    Raises
    ------
    ConfigError
        If the policy is not an adapter, or its base is in 4 bits.
    ModelError
        If the model that was written gives other log-probabilities than the adapter.
    """
    policy = HuggingFacePolicy.load(source)
    if not isinstance(policy.model, PeftModel):
        raise ConfigError(f"{source}: is a whole model, with no adapter to merge; export it without --merge")
    if quantization_of(policy.model) is not None:
        raise ConfigError(
            f"{source}: its base is in 4 bits, and rounding to them again would change the policy; export it without "
            "--merge"
        )
    expected = policy.log_prob(prompts, texts)
    tokens = np.array([one.scored for one in policy.codec.encode(prompts, texts)])
    base = base_of(source)
    with quiet_transformers():
        model = _own(policy.model).merge_and_unload(safe_merge=True)
    model = model.to(_dtype_of(source) if dtype == "auto" else getattr(torch, dtype))
    model.generation_config = _generation_of(base)
    HuggingFacePolicy(model, policy.codec, base=policy.base, sampling=policy.sampling).save(target)
    written = HuggingFacePolicy.load(target).log_prob(prompts, texts)
    largest = float(np.max(np.abs(written - expected) / tokens))
    if not largest <= TOLERANCE:
        raise ModelError(
            f"{source}: merged in {str(model.dtype).removeprefix('torch.')}, a text's log-probability is "
            f"{largest:.3g} nats per token off that of the adapter, and may be {TOLERANCE:g}; merge with --dtype "
            "float32, or export without --merge"
        )
    return largest


def _own(model: CausalLM) -> CausalLM:
    """Return a model with weights of its own: those that were read are shared with every policy on the same base."""
    own: CausalLM = copy.deepcopy(model)
    leave_origin(own.get_base_model() if isinstance(own, PeftModel) else own)
    return own


def _dtype_of(source: Path) -> torch.dtype:
    """Return the dtype in which a model, or the base of an adapter, is stored."""
    name = base_of(source) if (source / "adapter_config.json").is_file() else str(source)
    config = AutoConfig.from_pretrained(_loadable(name), trust_remote_code=False)
    return config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32


def _generation_of(base: str) -> GenerationConfig:
    """Return the model's own generation configuration, in place of that by which a policy draws from it as it is."""
    try:
        return GenerationConfig.from_pretrained(_loadable(base))
    except OSError:  # a model may have none, and then transformers makes one from its configuration
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(_loadable(base), trust_remote_code=False))


def _loadable(name: str) -> str:
    return str(smollm2.smollm2_folder()) if name == smollm2.NAME else name
