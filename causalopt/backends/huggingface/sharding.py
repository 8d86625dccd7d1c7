"""Weights sharded over processes (FSDP2, `fully_shard`): parted from the reference's, and gathered.

Sharding replaces a module's parameters in place, and a policy shares its frozen ones with the reference. So they are
parted first, and what was trained is copied into a whole twin that the reference's weights still belong to.
"""

from __future__ import annotations

import copy

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from causalopt.language_models.load import twin
from causalopt.language_models.scoring import CausalLM

_CHECKPOINTED = "_checkpoint_wrapped_module."  # what torch adds to a name under activation checkpointing


def part(model: CausalLM) -> CausalLM:
    """Give ``model`` parameters of its own, over the same memory, and return a whole twin with the shared ones.

    The twin waits in the memory of the CPU, so that a GPU holds its shard alone.
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
    """Copy the weights that train into ``whole``, from the shards of all processes, which must all call it."""
    targets = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        if parameter.requires_grad:
            value: Tensor = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
            targets[name.replace(_CHECKPOINTED, "")].copy_(value)
    return whole


@torch.no_grad()
def scatter(whole: CausalLM, sharded: CausalLM) -> None:
    """Undo `gather`: copy the weights that train into the shards of all processes, which must all call it."""
    sources = dict(whole.named_parameters())
    for name, parameter in sharded.named_parameters():
        if parameter.requires_grad:
            value: Tensor = sources[name.replace(_CHECKPOINTED, "")].to(parameter.device)
            if isinstance(parameter, DTensor):
                value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
            parameter.copy_(value)
