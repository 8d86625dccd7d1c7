"""A LoRA layer as one operation, against peft's own layer."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients import OBJECTIVES, moved_policy, step_gradient
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from small_models import VOCABULARY, model_of
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.language_models import scoring
from causalopt.language_models.kernels import lora, rounding
from causalopt.language_models.kernels.head import target_log_prob
from causalopt.language_models.kernels.lora import FusedLora, lora_product, use_fused_lora
from causalopt.language_models.kernels.rounding import cast_once
from causalopt.language_models.quiet import quiet_transformers

LAYER, NAME = "layer", "default"


def factors(
    *, bias: bool = True, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """x, W, b, A and B, of which W and b are frozen."""
    generator = torch.Generator().manual_seed(0)
    x, down, up = (
        torch.randn(*shape, dtype=dtype, generator=generator).requires_grad_() for shape in ((2, 3, 5), (2, 5), (4, 2))
    )
    weight, offset = (torch.randn(*shape, dtype=dtype, generator=generator) for shape in ((4, 5), (4,)))
    return x, weight, offset if bias else None, down, up


def adapted(body: nn.Module, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    """A model whose adapter and biases are not 0, with dropout on."""
    torch.manual_seed(0)
    with quiet_transformers():
        model = get_peft_model(body, LoraConfig(**{"r": 2, "target_modules": "all-linear", **settings})).to(dtype)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or name.endswith("bias"):
            parameter.data.normal_()
    return model.train()


def one_layer(**settings: Any) -> Any:
    torch.manual_seed(0)
    body = nn.Sequential()
    body.add_module(LAYER, nn.Linear(5, 4))
    return adapted(body, target_modules=[LAYER], **settings)


def layer_of(model: Any) -> Any:
    return model.base_model.model.get_submodule(LAYER)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each layer that was computed as one operation."""
    calls: list[int] = []

    def counted(*given: Any) -> Tensor:
        calls.append(1)
        return lora_product(*given)

    monkeypatch.setattr(lora, "lora_product", counted)
    return calls


def run(model: Any, *given: Any, **named: Any) -> list[Tensor]:
    """The output and all gradients."""
    torch.manual_seed(1)
    model.zero_grad()
    out = model(*given, **named)
    out = getattr(out, "logits", out)
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return [out.detach(), *(parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
def test_the_derivative_is_that_of_finite_differences(bias: bool) -> None:
    x, weight, offset, down, up = factors(bias=bias)
    assert torch.autograd.gradcheck(lambda x, a, b: lora_product(x, weight, offset, a, b, 0.7), (x, down, up))


@pytest.mark.parametrize("kind", ["llama", "qwen2, with biases", "qwen3", "positions that are learnt"])
def test_a_model_computes_what_it_does_with_pefts_layers(kind: str, products: list[int]) -> None:
    """Logits and gradients in float64. GPT-2's layers are no linear ones, and stay peft's."""
    theirs = adapted(model_of(kind), r=3, use_rslora=True)
    ours = copy.deepcopy(theirs)
    use_fused_lora(ours)
    ids = torch.randint(0, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
    want, found = run(theirs, input_ids=ids, use_cache=False), run(ours, input_ids=ids, use_cache=False)
    assert len(want) == len(found) > 1
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert len(products) == (0 if kind == "positions that are learnt" else 14)


def hooked(model: Any) -> None:
    layer_of(model).base_layer.register_forward_hook(lambda module, given, out: 2 * out)


def hooked_backward(model: Any) -> None:
    layer_of(model).lora_A[NAME].register_full_backward_pre_hook(lambda module, above: (2 * above[0],))


def replaced(model: Any) -> None:
    base = layer_of(model).base_layer
    base.forward = lambda x: 3 * nn.functional.linear(x, base.weight)


def two_adapters(model: Any) -> None:
    model.add_adapter("other", LoraConfig(r=2, target_modules=[LAYER], init_lora_weights=False))
    model.base_model.set_adapter([NAME, "other"])
    model.double()


def switched_off(model: Any) -> None:
    model.base_model.disable_adapter_layers()


NOT_PLAIN: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "DoRA": ({"use_dora": True}, lambda model: None),
    "dropout": ({"lora_dropout": 0.5}, lambda model: None),
    "a bias of the adapter": ({"lora_bias": True}, lambda model: layer_of(model).lora_B[NAME].bias.data.normal_()),
    "a base that trains": ({}, lambda model: layer_of(model).base_layer.weight.requires_grad_()),
    "a base bias that trains": ({"bias": "all"}, lambda model: None),
    "two adapters": ({}, two_adapters),
    "no adapter": ({}, switched_off),
    "a merged adapter": ({}, lambda model: model.merge_adapter()),
    "a hook": ({}, hooked),
    "a hook backward": ({}, hooked_backward),
    "a forward of one's own": ({}, replaced),
}


@pytest.mark.parametrize("case", list(NOT_PLAIN))
def test_what_is_not_plain_is_left_to_peft(case: str, products: list[int]) -> None:
    settings, change = NOT_PLAIN[case]
    x = factors()[0].detach()
    found = []
    for fused in (True, False):
        model = one_layer(**settings)
        change(model)
        if fused:
            use_fused_lora(model)
            assert type(layer_of(model)) is FusedLora
        x.requires_grad_()
        found.append(run(model, x))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert products == []


def test_autocast_and_other_dtypes_are_left_to_peft(products: list[int]) -> None:
    model = one_layer().float()
    use_fused_lora(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.ones(1, 5)).dtype == torch.bfloat16
    assert model(torch.ones(1, 5)).dtype == torch.float32
    assert len(products) == 1
    layer_of(model).base_layer.double()
    assert model(torch.ones(1, 5, dtype=torch.float64)).dtype == torch.float64
    assert len(products) == 1


def test_a_backward_pass_under_autocast_rounds_the_frozen_product_alone() -> None:
    """The adapter's own gradients keep float32, and so does the adapter's part of the derivative in x."""
    x, weight, bias, down, up = factors(dtype=torch.float32)
    out = lora_product(x, weight, bias, down, up, 0.7)
    above = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    exact = torch.autograd.grad(out, (x, down, up), above, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.autograd.grad(out, (x, down, up), above)
    assert torch.equal(rounded[1], exact[1])
    assert torch.equal(rounded[2], exact[2])
    half = (above.bfloat16() @ weight.bfloat16()).float() + 0.7 * above @ up @ down
    torch.testing.assert_close(rounded[0], half, rtol=1e-6, atol=1e-6)
    assert 1e-4 < float((rounded[0] - exact[0]).norm() / exact[0].norm()) < 1e-2


def test_what_needs_no_gradient_gets_none() -> None:
    """The first layer above a frozen embedding."""
    x, weight, bias, down, up = factors()
    lora_product(x.detach(), weight, bias, down, up, 0.7).sum().backward()
    alone = down.grad.clone(), up.grad.clone()
    down.grad = up.grad = None
    lora_product(x, weight, bias, down, up, 0.7).sum().backward()
    assert all(torch.equal(one, other) for one, other in zip(alone, (down.grad, up.grad), strict=True))


def test_names_and_files_stay_pefts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = adapted(model_of("llama"), dtype=torch.float32)
    names = list(model.state_dict())
    use_fused_lora(model)
    assert list(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    ids = torch.arange(5)[None]
    theirs = PeftModel.from_pretrained(model_of("llama").float(), tmp_path)
    torch.testing.assert_close(theirs(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    merged = model.merge_and_unload()
    torch.testing.assert_close(theirs(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-4, atol=1e-4)


class Casts(TorchDispatchMode):
    """How often something was cast."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_a_frozen_weight_is_cast_once() -> None:
    weight = torch.randn(4, 5)
    with Casts() as casts:
        first = cast_once(weight, torch.bfloat16)
        assert cast_once(weight, torch.bfloat16) is first
    assert casts.count == 1
    assert torch.equal(first, weight.bfloat16())
    assert cast_once(weight, torch.float32) is weight
    assert cast_once(weight, torch.float16).dtype == torch.float16


@pytest.mark.parametrize("change", ["in place", "data"])
def test_a_weight_that_changed_is_cast_anew(change: str) -> None:
    weight = nn.Parameter(torch.ones(4), requires_grad=False)
    cast_once(weight, torch.bfloat16)
    if change == "in place":
        weight.mul_(2)
    else:
        weight.data = 2 * torch.ones(4)
    assert cast_once(weight, torch.bfloat16).tolist() == [2.0] * 4


def test_a_cast_weight_goes_with_its_weight() -> None:
    gc.collect()
    before = len(rounding._kept)
    weights = [torch.ones(3), torch.ones(3)]
    for weight in weights:
        cast_once(weight, torch.bfloat16)
    assert len(rounding._kept) == before + 2
    del weights, weight
    gc.collect()
    assert len(rounding._kept) == before


@pytest.mark.parametrize("bf16", [False, True])
def test_a_training_step_computes_by_it(
    reference: HuggingFacePolicy,
    problem: PolicyProblem,
    tmp_path: Path,
    products: list[int],
    monkeypatch: pytest.MonkeyPatch,
    bf16: bool,
) -> None:
    """Every layer once, and with ``bf16`` the head's derivative is rounded as the layers' are."""
    asked = []

    def spied(*given: Any, derivative_dtype: torch.dtype | None) -> Tensor:
        if not torch.is_inference_mode_enabled():  # which is how the reference scores
            asked.append(derivative_dtype)
        return target_log_prob(*given, derivative_dtype=derivative_dtype)

    monkeypatch.setattr(scoring, "target_log_prob", spied)
    step_gradient(
        reference, problem, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=8, accumulation=1, bf16=bf16, score_first=bf16
    )
    layers = sum(isinstance(layer, Linear) for layer in moved_policy(reference).modules())
    assert len(products) == layers
    assert asked == [torch.bfloat16 if bf16 else None]
