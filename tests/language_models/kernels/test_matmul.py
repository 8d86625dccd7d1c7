from __future__ import annotations

import pytest
import torch

from causalopt.language_models.kernels.matmul import LARGEST_ERROR, fast_products, keeps_float32

matmul = getattr(torch.backends.mkldnn, "matmul", None)
SHAPES = [(1, 1, 1), (3, 8, 576), (47, 576, 192), (129, 31, 77)]


def errors(rows: int, inner: int, columns: int, cast: torch.dtype = torch.float32) -> list[float]:
    """Of a product and its two derivatives, each relative to the standard deviation of an entry."""
    generator = torch.Generator().manual_seed(rows)
    left = torch.randn(rows, inner, generator=generator).requires_grad_()
    right = torch.randn(columns, inner, generator=generator).requires_grad_()
    above = torch.randn(rows, columns, generator=generator)
    with torch.enable_grad():
        found = torch.nn.functional.linear(left.to(cast).float(), right.to(cast).float())
    derivatives = torch.autograd.grad(found, [left, right], above)
    a, b, g = left.detach().double(), right.detach().double(), above.double()
    exact = [(a @ b.T, inner), (g @ b, columns), (g.T @ a, rows)]
    return [
        float((one.double() - other).abs().max()) / terms**0.5
        for one, (other, terms) in zip([found.detach(), *derivatives], exact, strict=True)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_products_stay_float32(shape: tuple[int, int, int]) -> None:
    with fast_products():
        assert max(errors(*shape)) < LARGEST_ERROR


def test_the_limit_tells_float32_from_less() -> None:
    """An operand of float32 is rounded by 2^-24 of itself, one of bfloat16 by 2^-9, and one of TF32 by 2^-12."""
    assert max(errors(64, 256, 64)) < LARGEST_ERROR / 3
    assert errors(64, 256, 64, torch.bfloat16)[0] > 100 * LARGEST_ERROR
    assert 20 * LARGEST_ERROR < 2.0**-12


@pytest.mark.skipif(matmul is None, reason="this PyTorch has no setting for products by oneDNN")
def test_the_setting_is_put_back() -> None:
    before = matmul.fp32_precision
    within = []

    @fast_products()
    def fails() -> None:
        with fast_products():
            within.append(matmul.fp32_precision)
        within.append(matmul.fp32_precision)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert within == ["bf16" if keeps_float32() else before] * 2
    assert matmul.fp32_precision == before


def test_a_processor_that_rounds_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("causalopt.language_models.kernels.matmul.keeps_float32", lambda: False)
    before = getattr(matmul, "fp32_precision", None)
    with fast_products():
        assert getattr(matmul, "fp32_precision", None) == before
