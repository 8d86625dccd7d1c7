"""Models that a user holds in memory, taken over without being changed."""

from __future__ import annotations

import copy

import torch
from peft import PeftModel
from torch import Tensor, nn

from causalopt.errors import ModelError
from causalopt.language_models.kernels.attention import use_short_attention
from causalopt.language_models.load import prepare
from causalopt.language_models.scoring import CausalLM


def taken_over(model: CausalLM) -> CausalLM:
    """Return a frozen float32 model for inference, with the weights of ``model``, which is left as it is.

    Weights that are float32 and on this process's device are shared: training ``model`` afterwards changes both.

    Raises
    ------
    ModelError
        If the model is quantised, or has dropout.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if getattr(base, "is_quantized", False):
        raise ModelError("backend.model: a quantised model cannot be taken from memory: name it, and set quantization")
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [rate for key, rate in base.config.to_dict().items() if "drop" in key and isinstance(rate, float)]
    if any(rates):
        raise ModelError(
            "backend.model: the model has dropout, and a log-ratio needs the network that is scored: load it with "
            "its dropout rates set to 0"
        )
    own: dict[int, Tensor] = {id(tensor): _float32(tensor) for tensor in model.buffers()}
    for parameter in model.parameters():
        own[id(parameter)] = nn.Parameter(_float32(parameter), requires_grad=False)
    copied: CausalLM = copy.deepcopy(model, own)
    use_short_attention(copied.get_base_model() if isinstance(copied, PeftModel) else copied)
    prepare(copied)
    return copied


def _float32(tensor: Tensor) -> Tensor:
    found = tensor.detach()
    return found.to(torch.float32) if found.is_floating_point() else found
