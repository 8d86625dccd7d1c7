"""Texts that are packed into a forward pass are as if each were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import MODELS, model_of
from torch import Tensor
from torch.nn import functional

from causalopt.language_models.kernels.attention import SHORT, use_short_attention
from causalopt.language_models.kernels.causal_attention import causal_attention
from causalopt.language_models.scoring import SequenceLogProb

RUNS = ((2, 5), (1, 4), (3, 1))
TOKENS = sum(count * tokens for count, tokens in RUNS)


def parts(value_width: int = 3) -> list[Tensor]:
    """Queries of four heads, keys and values of two."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((TOKENS, 4, 3), (TOKENS, 2, 3), (TOKENS, 2, value_width))
    return [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]


def test_attention_is_that_of_each_text_alone() -> None:
    query, key, value = parts(value_width=5)
    found = causal_attention(query, key, value, RUNS, scaling=0.7)
    start = 0
    for count, tokens in RUNS:
        for _ in range(count):
            q, k, v = (part[start : start + tokens].transpose(0, 1)[None] for part in (query, key, value))
            alone = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7, enable_gqa=True)
            torch.testing.assert_close(found[start : start + tokens], alone[0].transpose(0, 1))
            start += tokens
    assert start == TOKENS


def test_the_derivative_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda *p: causal_attention(*p, RUNS, 0.7), parts(value_width=5))


def test_mixed_precision_is_computed_in_float32() -> None:
    """As under autocast, where values are bfloat16 and turned queries may not be."""
    query, key, value = (part.detach().float() for part in parts())
    want = causal_attention(query, key, value.bfloat16().float(), RUNS, 0.7).bfloat16()
    leaves = [query.requires_grad_(), key.requires_grad_(), value.bfloat16().requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        found = causal_attention(*leaves, RUNS, 0.7)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, want)
    found.sum().backward()
    assert [leaf.grad.dtype for leaf in leaves] == [torch.float32, torch.float32, torch.bfloat16]


def packed_model(kind: str) -> Any:
    model = model_of(kind)
    use_short_attention(model)
    return model


def batch(lengths: list[int]) -> dict[str, Tensor]:
    ids = torch.randint(0, 50, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    start = torch.tensor([1 + i % 2 for i in range(len(lengths))])
    return {"ids": ids, "length": torch.tensor(lengths), "start": start}


@pytest.mark.parametrize("kind", list(MODELS))
@pytest.mark.parametrize("max_tokens", [40, 5000])
def test_log_probabilities_and_gradients_are_those_of_padded_texts(kind: str, max_tokens: int) -> None:
    """With texts of equal and unequal lengths, one of them too long to be packed."""
    given = batch([9, 2, 30, 9, SHORT + 20, 17, 3, 9])
    found = []
    for packs in (True, False):
        scorer = SequenceLogProb(packed_model(kind), max_tokens)
        assert scorer.packs
        scorer.packs = packs
        log_prob = scorer(**given)
        (log_prob * torch.arange(1.0, 9.0, dtype=torch.float64)).sum().backward()
        found.append([log_prob.detach(), *(parameter.grad for parameter in scorer.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-5)


def test_all_short_texts_go_through_the_model_at_once(fused: list[int]) -> None:
    """And through attention by `causal_attention`, where transformers' own would read a mask."""
    model, shapes = packed_model("llama"), []
    scorer = SequenceLogProb(model)
    model.model.register_forward_pre_hook(
        lambda _, args, settings: shapes.append(tuple(settings["input_ids"].shape)), with_kwargs=True
    )
    scorer(**batch([9, 2, 30, 9, SHORT + 1, SHORT + 2]))
    assert shapes == [(1, 8 + 1 + 29 + 8 + SHORT), (1, SHORT + 1)]
    assert fused == [SHORT + 1] * 2  # layers


def forgetful(kind: str, *forgotten: str) -> Any:
    """A model that takes no heed of some of what it is given."""
    model = packed_model(kind)
    body = model.base_model
    forward = body.forward
    body.forward = lambda *args, **given: forward(*args, **{k: v for k, v in given.items() if k not in forgotten})
    return model


def test_a_model_that_cannot_tell_texts_apart_pads_them() -> None:
    """Without either hint texts see each other; with one of them the attention or the mask keeps them apart."""
    for kind, forgotten, packs in (
        ("llama", ("runs", "position_ids"), False),
        ("llama", ("runs",), True),
        ("llama", ("position_ids",), True),  # positions are relative there
        ("positions that are learnt", ("position_ids",), False),
    ):
        given = batch([9, 2, 30, 9])
        scorer = SequenceLogProb(forgetful(kind, *forgotten))
        assert scorer.packs == packs
        want = SequenceLogProb(packed_model(kind))(**given)
        torch.testing.assert_close(scorer(**given), want, rtol=1e-6, atol=1e-5)


def test_a_model_that_knows_no_packing_pads() -> None:
    model = packed_model("llama")
    forward = model.model.forward

    def strict(*args: Any, **given: Any) -> Any:
        if "runs" in given:
            raise TypeError("got an unexpected keyword argument 'runs'")
        return forward(*args, **given)

    model.model.forward = strict
    assert not SequenceLogProb(model).packs


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_other_attention_pads(kind: str) -> None:
    model = packed_model("llama")
    model.set_attn_implementation(kind)
    assert not SequenceLogProb(model).packs
