"""Weights sharded over processes (FSDP2, `fully_shard`): separated from the reference's, and gathered.

Sharding replaces a module's parameters in place, and a policy shares its frozen parameters with the reference.
Therefore they are separated first, and the trained weights are copied into a full copy of the model that still shares
the reference's weights.
"""

from __future__ import annotations

import copy

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from causalopt.errors import ConfigError
from causalopt.language_models.load import twin
from causalopt.language_models.scoring import CausalLM

_CHECKPOINTED = "_checkpoint_wrapped_module."  # added to names by torch under activation checkpointing


def check_sharding(fsdp_version: int | None, zero_stage: int | None) -> None:
    """Raise `ConfigError` for a way to shard weights from which a whole policy cannot be gathered.

    Examples
    --------
    >>> from causalopt.backends.huggingface.sharding import check_sharding
    >>> check_sharding(fsdp_version=2, zero_stage=None)
    """
    if fsdp_version not in (None, 2):
        raise ConfigError("FSDP version 1 is not supported: set fsdp_version: 2 (fsdp_config: {version: 2})")
    if zero_stage == 3:
        raise ConfigError(
            "DeepSpeed's ZeRO stage 3 is not supported, as its weights are not gathered: use stage 2 or, to shard "
            "weights, FSDP2 (fsdp_config: {version: 2})"
        )


def part(model: CausalLM) -> CausalLM:
    """Give ``model`` its own parameters, over the same memory, and return a full copy with the shared ones.

    The copy is kept in CPU memory, so that a GPU holds only its shard.
    """
    whole = twin(model) if isinstance(model, PeftModel) else copy.deepcopy(model)
    own: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in own:
                own[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
            setattr(module, name, own[id(parameter)])
    whole.to("cpu")
    return whole


@torch.no_grad()
def gather(sharded: CausalLM, whole: CausalLM) -> CausalLM:
    """Copy the trainable weights from the shards of all processes into ``whole``; every process must call it."""
    targets = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        if parameter.requires_grad:
            value: Tensor = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            targets[name.replace(_CHECKPOINTED, "")].copy_(value)
    return whole


@torch.no_grad()
def scatter(whole: CausalLM, sharded: CausalLM) -> None:
    """Undo `gather`: copy the trainable weights into the shards of all processes; every process must call it."""
    sources = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        if parameter.requires_grad:
            value: Tensor = sources[name.replace(_CHECKPOINTED, "")].to(parameter.device)
            if isinstance(parameter, DTensor):
                value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
            parameter.copy_(value)
