"""Float32 matrix products on a CPU by the faster of the two libraries that PyTorch brings, where both keep float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

LARGEST_ERROR = 1e-5
"""Of a product of standard normal matrices, relative to its standard deviation: float32 stays ten times below, and
bfloat16 is a hundred times above."""


@contextmanager
def fast_products() -> Iterator[None]:
    """Let oneDNN compute the float32 matrix products of this block, forward and backward.

    PyTorch calls MKL, which uses half the width of some processors (AMD EPYC of 2024: 115 against 260 GFLOP/s on one
    core). It hands a float32 product to oneDNN only where that may round the operands to bfloat16. oneDNN then does so
    on processors with matrix units for it, and keeps float32 on all others; only on those is it called, which
    `keeps_float32` finds out. The setting is of the whole process, and is put back.
    """
    setting = _setting()
    if setting is None or not keeps_float32():
        yield
        return
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


@lru_cache(maxsize=1)
def keeps_float32() -> bool:
    """Whether oneDNN computes in float32 here though it may round, measured on products of three shapes."""
    setting = _setting()
    if setting is None:
        return False
    generator = torch.Generator().manual_seed(0)
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        return all(_error(shape, generator) < LARGEST_ERROR for shape in ((32, 64, 32), (8, 512, 256), (256, 256, 256)))
    finally:
        setting.fp32_precision = before


def _error(shape: tuple[int, int, int], generator: torch.Generator) -> float:
    rows, inner, columns = shape
    left = torch.randn(rows, inner, generator=generator, device="cpu")
    right = torch.randn(inner, columns, generator=generator, device="cpu")
    return float((left @ right - left.double() @ right.double()).abs().max()) / math.sqrt(inner)


def _setting() -> Any:
    """PyTorch's setting for products by oneDNN; None where this PyTorch has none, or no oneDNN."""
    return getattr(torch.backends.mkldnn, "matmul", None) if torch._C._has_mkldnn else None
