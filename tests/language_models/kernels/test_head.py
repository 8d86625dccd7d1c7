from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from causalopt.language_models.kernels.head import CPU_COLUMNS, target_log_prob

T, D, V = 37, 8, 300


def plain(head: nn.Module, hidden: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return head(hidden).log_softmax(-1)[torch.arange(len(target)), target]


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def head(request: pytest.FixtureRequest) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(D, V, bias=request.param, dtype=torch.float64)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(T, D, dtype=torch.float64, requires_grad=True), torch.randint(V, (T,))


@pytest.mark.parametrize("frozen", [True, False])
def test_equals_the_plain_version(head: nn.Linear, inputs: tuple[torch.Tensor, torch.Tensor], frozen: bool) -> None:
    head.requires_grad_(not frozen)
    hidden, target = inputs
    # Tiles that do not divide tokens or vocabulary: the last row and column of them are narrower.
    out, expected = target_log_prob(head, hidden, target, chunk=10, columns=70), plain(head, hidden, target)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn(T, dtype=torch.float64)
    leaves = [hidden] if frozen else [hidden, *head.parameters()]
    for got, want in zip(
        torch.autograd.grad((weight * out).sum(), leaves),
        torch.autograd.grad((weight * expected).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_gradcheck(head: nn.Linear, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    hidden, target = inputs[0][:5].detach().requires_grad_(), inputs[1][:5]
    head.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda h: target_log_prob(head, h, target, chunk=2, columns=70), (hidden,))


@pytest.mark.parametrize("shift", [0.0, -3.0])
def test_logits_far_apart_neither_overflow_nor_vanish(shift: float) -> None:
    """A target whose probability is exp(-4000), in a block of the vocabulary before and behind the largest logit."""
    head = nn.Linear(1, 6, bias=False).requires_grad_(False)
    head.weight.copy_(shift + torch.tensor([[-2.0], [0.0], [2.0], [1.0], [-2.0], [0.0]]))
    hidden = torch.tensor([[1000.0]] * 3, requires_grad=True)
    out = target_log_prob(head, hidden, torch.tensor([0, 2, 4]), columns=2)
    assert out.tolist() == [-4000.0, 0.0, -4000.0]
    (gradient,) = torch.autograd.grad(out.sum(), hidden)
    assert gradient.flatten().tolist() == [-4.0, 0.0, -4.0]


@pytest.mark.parametrize("sure", [0.0, 60.0])
@pytest.mark.parametrize(("derivative_dtype", "least", "most"), [(None, 0, 1e-5), (torch.bfloat16, 1e-4, 1e-2)])
def test_the_derivative_is_as_near_as_its_dtype_allows(
    sure: float, derivative_dtype: torch.dtype | None, least: float, most: float
) -> None:
    """Each token's beside float64, also where the model is sure of the targets and the derivative is nearly 0."""
    torch.manual_seed(0)
    head, target = nn.Linear(32, 500).requires_grad_(False), torch.arange(16)
    hidden = (torch.randn(16, 32) + sure * head.weight[target]).requires_grad_()
    out = target_log_prob(head, hidden, target, columns=200, derivative_dtype=derivative_dtype)
    (found,) = torch.autograd.grad(out.sum(), hidden)
    exact_hidden = hidden.detach().double().requires_grad_()
    exact = plain(copy.deepcopy(head).double(), exact_hidden, target)
    (wanted,) = torch.autograd.grad(exact.sum(), exact_hidden)
    assert (float(exact.detach().exp().median()) > 0.999) == bool(sure)
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-5)  # the rounding is of the derivative alone
    assert found.dtype == torch.float32
    error = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert least <= float(error.max()) < most


@pytest.mark.parametrize("frozen", [True, False])
def test_nothing_of_the_size_of_the_vocabulary_is_kept(
    head: nn.Linear, inputs: tuple[torch.Tensor, torch.Tensor], frozen: bool
) -> None:
    head.requires_grad_(not frozen)
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in (head.weight.data_ptr(), getattr(head.bias, "data_ptr", lambda: 0)()):
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        target_log_prob(head, *inputs, chunk=4)
    assert kept
    assert max(kept) <= T * D


def test_softmax_is_float32_for_bfloat16() -> None:
    head = nn.Linear(D, V, dtype=torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(T, D, dtype=torch.bfloat16)
    target = torch.randint(V, (T,))
    out = target_log_prob(head, hidden, target)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain(lambda h: head(h).float(), hidden, target), rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [True, False])
def test_autocast_casts_a_frozen_weight_once_for_all_chunks(bias: bool) -> None:
    """Four chunks; numbers and gradients are those of torch's own cast logits, whose derivative is bfloat16 too."""
    head, hidden, target = nn.Linear(32, 50, bias=bias), torch.randn(16, 32, requires_grad=True), torch.arange(16)
    head.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16), Casts() as mode:
        out = target_log_prob(head, hidden, target, chunk=4)
    assert mode.shapes.count(head.weight.shape) == 1
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(lambda h: head(h).float(), hidden, target)  # type: ignore[arg-type]
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    found, wanted = (torch.autograd.grad(values.sum(), hidden)[0] for values in (out, expected))
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)


class Casts(TorchDispatchMode):
    """Shapes of what is copied to another dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default:
            self.shapes.append(args[0].shape)
        return func(*args, **(kwargs or {}))


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("vocabulary", [49_152, 128_256])
def test_no_tensor_grows_with_tokens_times_vocabulary(vocabulary: int, frozen: bool) -> None:
    """Forward and backward, over two and four chunks of tokens; the plain version's logits are that large.

    With a frozen head not even a chunk's logits are all there at one time.
    """
    head = nn.Linear(4, vocabulary, bias=False).requires_grad_(not frozen)
    largest = []
    for tokens in (128, 256):
        hidden, target = torch.randn(tokens, 4, requires_grad=True), torch.randint(vocabulary, (tokens,))
        with Largest() as mode:
            target_log_prob(head, hidden, target, chunk=64).sum().backward()
        largest.append(mode.numbers)
    assert largest == [64 * (CPU_COLUMNS if frozen else vocabulary)] * 2
    with Largest() as mode:
        plain(head, hidden, target).sum().backward()
    assert mode.numbers == 256 * vocabulary
