from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy, lora
from causalopt.backends.huggingface.lora import fused_lora
from causalopt.objective import DRCPO

D_IN, D_OUT, R = 6, 5, 3


def make(bias: bool = True, dtype: torch.dtype = torch.float64, **settings: Any) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(**{"r": R, "lora_alpha": 7, "target_modules": ["0"], "init_lora_weights": False, **settings})
    return get_peft_model(nn.Sequential(nn.Linear(D_IN, D_OUT, bias=bias)), config).to(dtype)


def layer_of(model: PeftModel) -> Linear:
    return next(module for module in model.modules() if isinstance(module, Linear))


def adapter(model: PeftModel) -> list[Tensor]:
    return [parameter for name, parameter in model.named_parameters() if "lora_" in name]


def inputs(dtype: torch.dtype = torch.float64, requires_grad: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, D_IN, dtype=dtype, generator=generator).requires_grad_(requires_grad)


def is_fused(out: Tensor) -> bool:
    return "LoraLinear" in type(out.grad_fn).__name__ or "LoraLinear" in str(out.grad_fn.next_functions)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
@pytest.mark.parametrize("inner", [True, False], ids=["inner layer", "first layer"])
def test_output_and_gradients_are_those_of_peft(bias: bool, settings: dict[str, Any], inner: bool) -> None:
    """peft's own five operations are the other side."""
    model, x = make(bias, **settings), inputs(requires_grad=inner)
    leaves = [*adapter(model), *([x] if inner else [])]
    weight = torch.linspace(-1, 2, 2 * 4 * D_OUT, dtype=torch.float64).reshape(2, 4, D_OUT)
    expected = model(x)
    with fused_lora(model):
        out = model(x)
    assert is_fused(out)
    assert not is_fused(expected)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-13)
    found, wanted = (torch.autograd.grad((weight * y).sum(), leaves) for y in (out, expected))
    for got, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_finite_differences(bias: bool) -> None:
    model = make(bias)
    down, up = adapter(model)
    base = layer_of(model).base_layer
    arguments = (inputs(), base.weight, base.bias, down, up, 0.7)
    assert torch.autograd.gradcheck(lora._LoraLinear.apply, arguments)


def disabled(model: PeftModel, stack: ExitStack) -> None:
    stack.enter_context(model.disable_adapter())


def merged(model: PeftModel, stack: ExitStack) -> None:
    model.merge_adapter()


def two_adapters(model: PeftModel, stack: ExitStack) -> None:
    model.add_adapter("second", LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])


def trained_base(model: PeftModel, stack: ExitStack) -> None:
    layer_of(model).base_layer.requires_grad_(True)


def hooked(model: PeftModel, stack: ExitStack) -> None:
    layer_of(model).base_layer.register_forward_hook(lambda module, args, out: 2 * out)


def autocast(model: PeftModel, stack: ExitStack) -> None:
    stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))


def mixed_dtypes(model: PeftModel, stack: ExitStack) -> None:
    model.half()
    layer_of(model).lora_A.float()
    layer_of(model).lora_B.float()


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"lora_dropout": 0.5}, None),
        ({"lora_bias": True}, None),
        ({"use_dora": True}, None),
        *[({}, change) for change in (disabled, merged, two_adapters, trained_base, hooked, autocast, mixed_dtypes)],
    ],
)
def test_what_is_not_plain_runs_as_peft_wrote_it(settings: dict[str, Any], change: Any) -> None:
    """Bit for bit; each of these would be wrong, or another network, in one operation."""
    model = make(dtype=torch.float32, **settings)
    x = inputs(torch.float32)
    with ExitStack() as stack:
        if change:
            change(model, stack)
        x = x.detach().to(layer_of(model).base_layer.weight.dtype).requires_grad_()
        torch.manual_seed(2)
        expected = model(x)
        torch.manual_seed(2)
        with fused_lora(model):
            out = model(x)
    assert not is_fused(out)
    assert torch.equal(out, expected)


def test_layers_and_saved_names_are_as_before() -> None:
    model = make()
    before, forward = copy.deepcopy(model.state_dict()), layer_of(model).forward
    with fused_lora(model):
        assert list(model.state_dict()) == list(before)
    assert layer_of(model).forward == forward
    with pytest.raises(ZeroDivisionError), fused_lora(model):
        raise ZeroDivisionError
    assert "forward" not in vars(layer_of(model))


def test_training_runs_fused_and_ends_where_peft_ends(
    reference: HuggingFacePolicy, problem: PolicyProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps each; afterwards float32 may tell the two apart by its rounding alone."""
    backend = HuggingFaceBackend(model="scratch:tiny", training={"max_steps": 10})
    calls = []
    plain = lora._is_plain
    monkeypatch.setattr(lora, "_is_plain", lambda layer, x: calls.append(plain(layer, x)) or calls[-1])
    fused = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    assert calls
    assert all(calls)
    monkeypatch.setattr(lora, "_is_plain", lambda layer, x: False)
    unfused = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    one, other, start = (policy.log_prob(None, problem.texts) for policy in (fused, unfused, reference))
    assert abs(one - start).max() > 0.1
    assert abs(one - other).max() < 1e-3
