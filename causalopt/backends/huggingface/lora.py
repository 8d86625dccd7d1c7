"""A linear layer with a LoRA adapter as one operation.

peft computes ``W x + b + s B A x`` in five operations, with a tensor of the output's size after each of the last three
and a gradient of that size for each in the backward pass. Here the adapter's part is added within the matrix product,
in place, and its gradients are formed at once: with g the gradient of the output and u = A x,

    dB = s g' u,   dA = s (g B)' x,   dx = g W + s (g B) A.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen, "LoRA: Low-rank adaptation of large language models" (ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@contextmanager
def fused_lora(model: nn.Module) -> Iterator[None]:
    """Let the plain LoRA layers of a model run as one operation inside of the context.

    Concerns the layers of type `peft.tuners.lora.Linear` alone, so none that is quantised. Whether a call can be fused
    is decided call by call (`_is_plain`); where it cannot, the layer runs as peft wrote it. Weights and names of
    modules stay as they are, and afterwards so do the layers.

    Examples
    --------
    >>> import torch
    >>> from peft import LoraConfig, inject_adapter_in_model
    >>> from causalopt.backends.huggingface.lora import fused_lora
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    >>> model = inject_adapter_in_model(LoraConfig(target_modules=["0"], init_lora_weights=False), model)
    >>> x = torch.ones(2, 4)
    >>> with fused_lora(model):
    ...     fused = model(x)
    >>> torch.allclose(fused, model(x), atol=1e-6)
    True
    """
    layers = [layer for layer in model.modules() if type(layer) is Linear and "forward" not in vars(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args or kwargs or not _is_plain(layer, x):
        unfused: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return unfused
    name = layer.active_adapters[0]
    base, scaling = layer.base_layer, layer.scaling[name]
    weights = (base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight)
    fused: Tensor = _LoraLinear.apply(x, *weights, scaling)  # type: ignore[no-untyped-call]
    return fused


def _is_plain(layer: Linear, x: Tensor) -> bool:
    """Whether a call is ``W x + b + s B A x`` with frozen W and b, in one dtype, and with nothing that acts on a part.

    Autocast chooses a dtype for each operation, sharding (FSDP, DeepSpeed) and offloading gather the weights of a part
    when that is called, and DoRA and its kin are variants.
    """
    names = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] not in layer.lora_A:
        return False
    name = names[0]
    parts = (layer.base_layer, layer.lora_A[name], layer.lora_B[name])
    base, down, up = parts
    return (
        name not in layer.lora_variant
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and all(type(part) is nn.Linear and not _is_watched(part) for part in parts)
        and all(type(part.weight) in (Tensor, nn.Parameter) and part.weight.dtype == x.dtype for part in parts)
        and down.bias is None
        and up.bias is None
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and not torch.is_autocast_enabled(x.device.type)
    )


def _is_watched(part: nn.Module) -> bool:
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or "forward" in vars(part)


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ down.t()
        out = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        out.addmm_(inner, up.t(), alpha=scaling)
        ctx.save_for_backward(flat, inner, weight, down, up)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        flat, inner, weight, down, up = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1])
        d_inner = (g @ up).mul_(ctx.scaling)
        d_x = (g @ weight).addmm_(d_inner, down).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return d_x, None, None, d_inner.t() @ flat, (g.t() @ inner).mul_(ctx.scaling), None
