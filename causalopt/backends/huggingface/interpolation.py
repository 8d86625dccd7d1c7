"""Models on the way from a reference to a tuned model: an adapter is scaled, full weights are interpolated."""

from __future__ import annotations

import copy

import torch
from peft import PeftModel

from causalopt.errors import ModelError
from causalopt.language_models.load import adapter_names, twin
from causalopt.language_models.scoring import CausalLM

_SCALED = ("lora_B.", "lora_embedding_B.")
_UNSCALED = ("lora_A.", "lora_embedding_A.")


@torch.no_grad()
def interpolated(start: CausalLM, end: CausalLM, factor: float) -> CausalLM:
    """Return the model at ``factor`` of the way from ``start`` to ``end``; neither is changed.

    The change B A of a LoRA adapter is linear in B, which is 0 at the start: B is multiplied by the factor, as LoRA's
    own scale would be, and the frozen weights are shared. If the start has an adapter too, both of its matrices are
    interpolated. Without adapters all weights are (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").

    Raises
    ------
    ModelError
        If the adapter trains anything besides LoRA's matrices, or the two models have different weights.
    """
    if not isinstance(end, PeftModel):
        model: CausalLM = copy.deepcopy(end)
        _interpolate(model, start, set(dict(model.named_parameters())), factor)
        return model
    model = twin(end)
    names = adapter_names(model)
    if isinstance(start, PeftModel):
        _interpolate(model, start, names, factor)
        return model
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in names}
    other = [name for name in parameters if not any(kind in name for kind in (*_SCALED, *_UNSCALED))]
    if other:
        raise ModelError(
            f"there is no path from the reference to an adapter that trains {other[0]!r}: only LoRA's own matrices can "
            "be scaled (no DoRA, bias or modules_to_save); set choose: null"
        )
    for name, parameter in parameters.items():
        if any(kind in name for kind in _SCALED):
            parameter.mul_(factor)
    return model


def _interpolate(model: CausalLM, start: CausalLM, names: set[str], factor: float) -> None:
    first = dict(start.named_parameters())
    for name, parameter in model.named_parameters():
        if name not in names:
            continue
        if name not in first or first[name].shape != parameter.shape:
            raise ModelError(f"there is no path between two models of different weights ({name})")
        parameter.copy_(torch.lerp(first[name].to(parameter.dtype), parameter, factor))
