from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from toy_policies import TEXTS
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.errors import DataError, ModelError
from causalopt.language_models.batching import full_buckets, length_buckets, pack
from causalopt.language_models.load import prepare
from causalopt.language_models.scoring import SequenceLogProb
from causalopt.language_models.tokenization import TextCodec

PROMPTS = ["Dear friend, ", "To you: ", "x"]


def one_by_one(policy: HuggingFacePolicy, prompts: list[str] | None, texts: list[str]) -> np.ndarray:
    """The same in float64 and without any of our code but the layout: token by token, from the model's own logits."""
    model = copy.deepcopy(policy.model).double()
    tokenizer = policy.codec.tokenizer
    totals = []
    for i, text in enumerate(texts):
        prompt = tokenizer.encode(prompts[i], add_special_tokens=False) if prompts is not None else []
        body = tokenizer.encode(text, add_special_tokens=False)
        ids = [tokenizer.bos_token_id, *prompt, *body, tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        total = 0.0
        for position in range(1 + len(prompt), len(ids)):
            row = logits[position - 1]
            total += float(row[ids[position]]) - float(np.logaddexp.reduce(row.numpy()))
        totals.append(total)
    return np.array(totals)


@pytest.mark.parametrize("with_prompts", [False, True])
def test_equals_a_float64_computation(reference: HuggingFacePolicy, with_prompts: bool) -> None:
    texts = [*TEXTS[::9], "We ask", "unseen words: naïve 🙂", "a"]
    prompts = [PROMPTS[i % 3] for i in range(len(texts))] if with_prompts else None
    got = reference.log_prob(prompts, texts)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, one_by_one(reference, prompts, texts), atol=1e-4, rtol=0)


def test_batch_and_padding_change_nothing(reference: HuggingFacePolicy) -> None:
    texts = [*TEXTS[::5], "We ask", "a much longer text of words that nobody has seen", "b"]
    together = reference.log_prob(None, texts)
    alone = np.concatenate([reference.log_prob(None, [text]) for text in texts])
    backwards = reference.log_prob(None, texts[::-1])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-4, rtol=0)
    np.testing.assert_allclose(together, backwards, atol=1e-4, rtol=0)
    small = SequenceLogProb(reference.model, max_tokens=30)
    reference_scorer, reference._scorer = reference._scorer, small
    try:
        np.testing.assert_allclose(together, reference.log_prob(None, texts), atol=1e-4, rtol=0)
    finally:
        reference._scorer = reference_scorer


def test_scores_stand_in_the_order_of_the_texts(reference: HuggingFacePolicy) -> None:
    texts = ["We ask", *TEXTS[::6], "a much longer text of words that nobody has seen", "b"]
    for max_tokens, max_padding in ((20, None), (100, None), (10_000, None), (10_000, 5)):
        scorer = SequenceLogProb(reference.model, max_tokens, max_padding)
        with torch.no_grad():
            got = scorer(**pack(reference.codec.encode(None, texts)))
        np.testing.assert_allclose(got, reference.log_prob(None, texts), atol=1e-4, rtol=0)


def test_equal_texts_are_scored_once_and_all_answered(reference: HuggingFacePolicy) -> None:
    scores = reference.log_prob(["x", "y", "x"], ["We ask", "We ask", "We ask"])
    assert scores[0] == scores[2] != scores[1]
    assert reference.log_prob(None, []).shape == (0,)


def test_total_probability(letters: HuggingFacePolicy) -> None:
    texts = ["".join(word) for length in range(1, 9) for word in itertools.product("ab", repeat=length)]
    mass = np.exp(letters.log_prob(None, texts))
    assert 0.3 < mass.sum() < 1.0
    # All that is left: the empty text, texts with a special token in them, and those that go on. Follow the prefixes.
    model, codec = copy.deepcopy(letters.model).double(), letters.codec
    step: dict[str, np.ndarray] = {}
    for prefix in ["", *texts]:
        ids = [1, *codec.tokenizer.encode(prefix, add_special_tokens=False)]
        with torch.no_grad():
            step[prefix] = model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1).numpy()
    reach = {"": 1.0}
    for text in texts:
        reach[text] = reach[text[:-1]] * step[text[:-1]][3 + "ab".index(text[-1])]
    ends = {prefix: reach[prefix] * step[prefix][2] for prefix in reach}
    strays = sum(reach[p] * (step[p][0] + step[p][1]) for p in reach)
    goes_on = sum(reach[p] * (step[p][3] + step[p][4]) for p in reach if len(p) == 8)
    assert ends[""] + mass.sum() + strays + goes_on == pytest.approx(1.0, abs=1e-5)


def test_unusable_texts(reference: HuggingFacePolicy) -> None:
    with pytest.raises(DataError, match="text 1 is empty"):
        reference.log_prob(None, ["a", ""])
    with pytest.raises(DataError, match="prompts for"):
        reference.log_prob(["a", "b"], ["a"])
    with pytest.raises(DataError, match="limit is"):
        reference.log_prob(None, ["€" * 100])


def test_length_buckets() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 90, size=500).tolist()
    buckets = length_buckets(lengths, 512)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(500))
    assert all(len(bucket) * max(lengths[i] for i in bucket) <= 512 for bucket in buckets)
    padded = sum(len(bucket) * max(lengths[i] for i in bucket) for bucket in buckets)
    assert padded < 1.1 * sum(lengths)
    assert length_buckets([700, 3], 512) == [[0], [1]]


def test_full_buckets() -> None:
    lengths = np.random.default_rng(0).integers(1, 90, size=500).tolist()
    buckets = full_buckets(lengths, 512)
    assert [lengths[i] for bucket in buckets for i in bucket] == sorted(lengths, reverse=True)
    total = [sum(lengths[i] for i in bucket) for bucket in buckets]
    assert max(total) <= 512
    for tokens, after in zip(total, buckets[1:], strict=False):
        assert tokens + lengths[after[0]] > 512
    assert full_buckets([700, 3], 512) == [[0], [1]]
    assert full_buckets([5, 5, 1], 10) == [[0, 1], [2]]
    assert full_buckets([], 512) == []


def test_a_pass_has_no_more_padding_than_allowed() -> None:
    """And none is closed before: its padding and that of the next sequence, were it in it, are beyond the limit."""
    lengths = np.random.default_rng(0).integers(1, 90, size=300).tolist()
    buckets = length_buckets(lengths, 10**6, max_padding=40)
    assert sorted(i for bucket in buckets for i in bucket) == list(range(300))
    padding = [sum(lengths[bucket[0]] - lengths[i] for i in bucket) for bucket in buckets]
    assert max(padding) <= 40
    for bucket, unused, after in zip(buckets, padding, buckets[1:], strict=False):
        assert unused + lengths[bucket[0]] - lengths[after[0]] > 40


def other_architectures() -> dict[str, torch.nn.Module]:
    small = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    return {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
        "opt": OPTForCausalLM(
            OPTConfig(
                vocab_size=60,
                hidden_size=16,
                ffn_dim=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                word_embed_proj_dim=8,
            )
        ),
        "gemma2": Gemma2ForCausalLM(Gemma2Config(**small, **heads, head_dim=8, final_logit_softcapping=0.05)),
    }


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_other_architectures(name: str, letters: HuggingFacePolicy) -> None:
    torch.manual_seed(0)
    model = other_architectures()[name]
    prepare(model)
    policy = HuggingFacePolicy(model, TextCodec(letters.codec.tokenizer, max_length=64), base=None)
    texts = ["a", "ab", "abbabababbbb", "bb"]
    np.testing.assert_allclose(policy.log_prob(None, texts), one_by_one(policy, None, texts), atol=1e-4, rtol=0)


def test_a_head_that_is_not_all_of_the_logits_is_refused(letters: HuggingFacePolicy) -> None:
    torch.manual_seed(0)
    model = other_architectures()["gemma2"]
    torch.nn.init.normal_(model.get_output_embeddings().weight)
    prepare(model)
    with pytest.raises(ModelError, match="Gemma2ForCausalLM are not its head"):
        SequenceLogProb(model)
