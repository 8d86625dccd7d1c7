"""Likelihoods of answers against transformers alone, in float64, token by token."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from chat_models import save_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError
from causalopt.judges.contracts import Pair
from causalopt.judges.local_lm import CONTEXT, LocalLMJudge
from causalopt.judges.questions import Question
from causalopt.language_models import scratch
from causalopt.testing import check_judge

BINARY = Question("outcome", "Which text would more readers answer?")
LIKERT = Question("coherence", "Which text is clearer?", "likert")
PAIRS = [Pair("Why?", "Because.", "It is so, and <|end|> it stays so."), Pair("Why? " * 9, "No.", "Yes, naïve 🙂")] + [
    Pair(None, f"text {i}", "another " * i) for i in range(1, 19)
]
pytestmark = pytest.mark.filterwarnings("ignore:judge local-lm with scratch:causalopt.errors.CausalOptWarning")


def one_by_one(model: LlamaForCausalLM, tokenizer, head: list[int], answer: str) -> float:
    """log P(answer | head), from the logits of transformers in float64."""
    tokens = tokenizer.encode(answer, add_special_tokens=False)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*head, *tokens]])).logits[0]
    rows = torch.log_softmax(logits.double(), dim=-1)
    return sum(float(rows[len(head) - 1 + i, token]) for i, token in enumerate(tokens))


@pytest.mark.parametrize("question", [BINARY, LIKERT], ids=["binary", "likert"])
def test_the_tiny_model_equals_transformers(question: Question) -> None:
    tokenizer = scratch.train_tokenizer([])
    model = scratch.make_model(tokenizer, CONTEXT, seed=0).double().eval()
    found = list(LocalLMJudge("scratch:tiny").compare(PAIRS, question))
    assert [one.pair for one in found] == list(range(len(PAIRS)))
    for i in (0, 1, 2, 15, 16, 19):
        pair, one = PAIRS[i], found[i]
        text = question.write(*pair) + "\nAnswer:"
        head = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)]
        expected = np.array([one_by_one(model, tokenizer, head, f" {option}") for option in question.options])
        np.testing.assert_allclose(list(json.loads(one.answer).values()), expected, atol=1e-4, rtol=0)
        share = np.exp(expected - np.logaddexp.reduce(expected))
        points = np.linspace(1, 0, len(share))
        assert one.first == pytest.approx(float(share @ points), abs=1e-4)


@pytest.mark.parametrize("style", ["smollm", "qwen 3", "gemma"])
def test_a_chat_model_is_asked_by_its_template(tmp_path: Path, style: str) -> None:
    save_model(style, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    pairs = [Pair("Is it raining?", "It is not.", "Yes yes."), Pair(None, "sky", "blue")]
    arguments = {"enable_thinking": False} if style == "qwen 3" else {}
    found = LocalLMJudge(str(tmp_path), chat_template_kwargs=arguments).compare(pairs, BINARY)
    plain = list(LocalLMJudge(str(tmp_path), chat_template=False).compare(pairs, BINARY))
    for pair, one, other in zip(pairs, found, plain, strict=True):
        message = [{"role": "user", "content": BINARY.write(*pair)}]
        head = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False, **arguments)
        ids = tokenizer.encode(head, add_special_tokens=False)
        expected = [one_by_one(model, tokenizer, ids, option) for option in "AB"]
        np.testing.assert_allclose(list(json.loads(one.answer).values()), expected, atol=1e-3, rtol=0)
        assert one.first == pytest.approx(1 / (1 + np.exp(expected[1] - expected[0])), abs=1e-3)
        assert json.loads(other.answer) != json.loads(one.answer)


def test_a_preference_does_not_depend_on_the_other_pairs() -> None:
    judge = LocalLMJudge("scratch:tiny")
    together = list(judge.compare(PAIRS, BINARY))
    for pair, one in zip(PAIRS[::5], together[::5], strict=True):
        (alone,) = judge.compare([pair], BINARY)
        assert alone.first == pytest.approx(one.first, abs=1e-5)


def test_it_keeps_the_contract_of_judges() -> None:
    check_judge(lambda: LocalLMJudge("scratch:tiny"))


def test_what_cannot_be_judged() -> None:
    with pytest.raises(DataError, match=r"'long long .* tokens .* 'scratch:tiny' reads 8192"):
        list(LocalLMJudge("scratch:tiny").compare([Pair("c", "short", "x"), Pair("c", "long " * 2000, "y")], BINARY))
    with pytest.raises(ConfigError, match="no chat template"):
        list(LocalLMJudge("scratch:tiny", chat_template=True).compare(PAIRS, BINARY))
    with pytest.raises(ConfigError, match="no model from scratch is called 'scratch:huge'"):
        LocalLMJudge("scratch:huge")
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalLMJudge("./no-such-folder")
    with pytest.warns(CausalOptWarning, match="its weights are random, and so are its preferences"):
        LocalLMJudge("scratch:tiny")
