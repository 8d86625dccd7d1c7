"""A frozen linear layer and its LoRA adapter as one operation, on a CPU: nothing of the output's size is made twice."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from causalopt.language_models.kernels.rounding import cast_once


class FusedLora(Linear):  # type: ignore[misc]
    """peft's LoRA layer; where a plain adapter is all that is added to a plain frozen layer, by `lora_product`."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See `peft.tuners.lora.Linear`, which computes whatever is not plain."""
        if args or kwargs or not self._is_plain(x):
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        return lora_product(x, self.base_layer.weight, self.base_layer.bias, down, up, self.scaling[name])

    def _is_plain(self, x: Tensor) -> bool:
        if self.disable_adapters or self.merged or self.lora_variant or len(self.active_adapters) != 1:
            return False
        name = self.active_adapters[0]
        if name not in self.lora_A or torch.is_autocast_enabled(x.device.type):
            return False
        base, down, up = self.base_layer, self.lora_A[name], self.lora_B[name]
        return (
            all(map(_is_only_linear, (base, down, up)))
            and not any(parameter.requires_grad for parameter in base.parameters())
            and up.bias is None
            and isinstance(self.lora_dropout[name], nn.Identity)
            and x.dtype == base.weight.dtype == down.weight.dtype == up.weight.dtype
        )


def use_fused_lora(model: nn.Module) -> None:
    """Let the LoRA layers of a model be computed as one operation each; their weights and names stay."""
    for layer in model.modules():
        if type(layer) is Linear:
            layer.__class__ = FusedLora


def lora_product(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """x W' + bias + scaling (x A') B'.

    The derivative in x is W's product with the output's, in autocast's dtype where the backward pass runs under it, and
    the adapter's products; those of the adapter's weights keep the precision of the forward pass.

    Parameters
    ----------
    x:
        Shape [..., in].
    weight, bias:
        Shapes [out, in] and [out], frozen.
    down, up:
        The adapter's A and B, shapes [r, in] and [out, r].
    scaling:
        What the adapter's output is multiplied by.

    Returns
    -------
    Tensor
        Shape [..., out].

    Examples
    --------
    >>> import torch
    >>> from causalopt.language_models.kernels.lora import lora_product
    >>> one = torch.ones(1, 1)
    >>> lora_product(3 * one, 2 * one, None, one, one, 0.5).item()
    7.5
    """
    result: Tensor = _LoraProduct.apply(x, weight, bias, down, up, scaling)  # type: ignore[no-untyped-call]
    return result


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ down.T
        result = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        result.addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(rows, weight, down, up, inner)
        ctx.scaling = scaling
        return result.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, weight, down, up, inner = ctx.saved_tensors
        device = gradient.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        with torch.autocast(device, enabled=False):
            d_result = gradient.reshape(-1, len(weight))
            d_inner = (d_result @ up).mul_(ctx.scaling)
            d_up = (d_result.T @ inner).mul_(ctx.scaling)
            d_down = d_inner.T @ rows
            d_x = None
            if ctx.needs_input_grad[0]:
                d_rows = (d_result.to(dtype) @ cast_once(weight, dtype)).to(rows.dtype)
                d_x = d_rows.addmm_(d_inner, down).view(*gradient.shape[:-1], -1)
        return d_x, None, None, d_down, d_up, None


def _is_only_linear(module: nn.Module) -> bool:
    """Whether nothing but its product happens when a module is called."""
    hooks = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks)
    return type(module) is nn.Linear and "forward" not in vars(module) and not any(hooks)
