from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import model_of
from torch.nn import functional

from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.language_models.kernels.attention import NAME, SHORT, short_attention, use_short_attention
from causalopt.language_models.load import load_model


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("tokens", [2, 17, SHORT, SHORT + 1])
def test_equals_the_fused_kernel(kind: str, tokens: int, fused: list[int]) -> None:
    """Logits and gradients in float64; keys and values have fewer heads than queries."""
    theirs = model_of(kind)
    ours = copy.deepcopy(theirs)
    use_short_attention(ours)
    ids = torch.randint(0, 50, (3, tokens), generator=torch.Generator().manual_seed(1))
    up = torch.randn(3, tokens, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = []
    for model in (theirs, ours):
        logits = model(input_ids=ids, use_cache=False).logits
        (logits * up).sum().backward()
        found.append([logits.detach(), *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9)
    assert fused == ([] if tokens <= SHORT else [tokens] * 2)


def test_padding_on_the_left_and_a_cache_are_left_to_the_fused_kernel(fused: list[int]) -> None:
    model = model_of("llama").eval()
    use_short_attention(model)
    ids, mask = torch.tensor([[0, 0, 7, 8], [4, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    ours = model.generate(input_ids=ids, attention_mask=mask, **settings)
    assert len(fused) > 0
    model.set_attn_implementation("sdpa")
    assert torch.equal(model.generate(input_ids=ids, attention_mask=mask, **settings), ours)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "a window of 6", "positions that are learnt"])
@pytest.mark.parametrize("padded", [True, False])
def test_one_more_token_equals_the_fused_kernel(kind: str, padded: bool, fused: list[int]) -> None:
    """Logits in float64 of a token behind a cache, in a batch with padding on the left and without."""
    theirs = model_of(kind).eval()
    ours = copy.deepcopy(theirs)
    use_short_attention(ours)
    ids = torch.tensor([[0, 0, 7, 8, 9], [4, 5, 6, 7, 1]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]) if padded else torch.ones_like(ids)
    position = (mask.cumsum(1) - 1).clamp(min=0)
    found = []
    for model in (theirs, ours):
        before = {"attention_mask": mask[:, :4], "position_ids": position[:, :4]}
        cache = model(input_ids=ids[:, :4], use_cache=True, **before).past_key_values
        fused.clear()
        settings = {"attention_mask": mask, "position_ids": position[:, 4:], "past_key_values": cache}
        found.append(model(input_ids=ids[:, 4:], **settings).logits)
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    assert fused == ([1, 1] if kind == "a window of 6" else [])


@pytest.mark.parametrize("settings", [{"is_causal": False}, {"position_bias": torch.ones(1, 1, 6, 6)}])
def test_what_is_not_plain_is_left_to_the_fused_kernel(fused: list[int], settings: dict[str, Any]) -> None:
    query, key, value = torch.randn(3, 2, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    found, _ = short_attention(torch.nn.Identity(), query, key, value, None, **settings)
    causal = functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)
    assert fused == [6]
    # A bias that is the same everywhere changes no share; to look ahead does.
    assert torch.allclose(found, causal, atol=1e-5) == ("position_bias" in settings)


def test_which_models_switch(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    """Only those that transformers gives "sdpa"; a policy notes it, and nothing of it reaches the model's own files."""
    model_of("llama").float().save_pretrained(tmp_path / "model")
    reference.codec.tokenizer.save_pretrained(tmp_path / "model")
    for asked in ("sdpa", "eager"):
        assert load_model(tmp_path / "model", asked).model.config._attn_implementation == asked
    policy = HuggingFacePolicy.load(tmp_path / "model")
    assert policy.model.config._attn_implementation == NAME
    policy.save(tmp_path / "saved")
    assert HuggingFacePolicy.load(tmp_path / "saved").model.config._attn_implementation == NAME
    assert NAME not in (tmp_path / "saved" / "config.json").read_text()


@pytest.mark.parametrize("scaling", [None, 0.3])
def test_scores_are_scaled(fused: list[int], scaling: float | None) -> None:
    query, key, value = torch.randn(3, 2, 2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, _ = short_attention(torch.nn.Identity(), query, key, value, None, scaling=scaling)
    want = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    torch.testing.assert_close(found, want.transpose(1, 2))
    assert fused == []
