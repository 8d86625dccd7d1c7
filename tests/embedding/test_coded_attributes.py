"""Coders of attributes: a lexicon, a language model's answers, and what a coder must return."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import causalopt as co
from causalopt import plugins
from causalopt.embedding.coded_attributes import CodedAttributesEmbedder, agreement, coded
from causalopt.embedding.lexicon import LexiconCoder
from causalopt.embedding.questions import ANSWERS, TEMPLATE, LanguageModelCoder
from causalopt.errors import ConfigError, DataError
from causalopt.testing import check_attribute_coder, check_embedder


@pytest.mark.parametrize(
    ("entry", "text", "found"),
    [
        ("econom*", "An ECONOMIC boom", True),
        ("econom*", "macroeconomics", False),
        ("now", "knowing", False),
        ("now", "now.", True),
        ("hong kong", "In Hong Kong", True),
        ("c++", "we write C++ here", True),
        ("free", "freedom", False),
    ],
)
def test_lexicon_finds_whole_words(entry: str, text: str, found: bool) -> None:
    assert LexiconCoder({"a": [entry]}).code([text])["a"].tolist() == [float(found)]


@pytest.mark.parametrize("words", [{}, {"a": []}, {"a": "thanks"}, {"a": ["*"]}, {"a": [1]}])
def test_lexicon_without_words_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="attribute coder 'lexicon': words"):
        LexiconCoder(words)


def test_coded_attributes_meet_the_contracts() -> None:
    words = {"help": ["help"], "them": ["them"]}
    check_attribute_coder(lambda: LexiconCoder(words))
    check_embedder(lambda: CodedAttributesEmbedder({"name": "lexicon", "words": words}))
    assert plugins.attribute_coders.names() == ["language-model", "lexicon"]


class Broken:
    def __init__(self, frame: object) -> None:
        self.frame = frame

    def code(self, texts: list[str]) -> object:
        return self.frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1.0]}), r"Broken returned shape \(1, 1\) for 2 texts"),
        (pd.DataFrame(index=[0, 1]), r"Broken returned shape \(2, 0\) for 2 texts"),
        (np.ones((2, 1)), "Broken returned a ndarray for 2 texts"),
        (pd.DataFrame({"a": [1.0, np.nan]}), "not finite for the text 'second'"),
        (pd.DataFrame({"a": ["yes", "no"]}), "values that are not numbers"),
    ],
)
def test_a_coder_that_breaks_its_contract_is_named(frame: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        coded(Broken(frame), ["first", "second"])


def test_agreement_is_the_phi_coefficient() -> None:
    people = pd.DataFrame({"warm": [1, 1, 0, 0, 1], "other": [0, 1, 0, 1, 0]})
    texts = ["Dear a", "Dear b", "Dear c", "d", "e"]
    found = agreement(LexiconCoder({"warm": ["dear"]}), texts, people)
    # phi = (n11 n00 - n10 n01) / sqrt of the product of the margins, with n11 = 2, n10 = 1, n01 = 1, n00 = 1
    assert found.to_dict() == pytest.approx({"warm": (2 * 1 - 1 * 1) / np.sqrt(3 * 2 * 3 * 2)})
    with pytest.raises(DataError, match="give an attribute the same name in both"):
        agreement(LexiconCoder({"cold": ["dear"]}), texts, people)


def test_language_model_coder_equals_transformers(tmp_path: Path) -> None:
    letters = {letter: i for i, letter in enumerate(["<end>", *string.ascii_letters, *" .,?:\n-"])}
    plain = Tokenizer(models.WordLevel(letters, unk_token=" "))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", bos_token="<end>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters), hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=200, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    coder = LanguageModelCoder({"warm": "Is it warm?"}, model=str(tmp_path), batch_size=2)
    texts = ["a friendly letter", "stop", "now or never, please"]
    found = coder.code(texts)["warm"]

    def log_prob(prompt: str, answer: str) -> float:
        head = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        tail = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([[*head, *tail]])
        with torch.no_grad():
            of_token = model(ids).logits[0].double().log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
        return float(of_token[len(head) - 1 :].sum())

    for text, value in zip(texts, found, strict=True):
        prompt = TEMPLATE.format(question="Is it warm?", text=text)
        yes, no = (log_prob(prompt, answer) for answer in ANSWERS)
        assert np.log(value / (1 - value)) == pytest.approx(yes - no, abs=1e-4)
    assert np.log(found).std() > 0.1
    with pytest.raises(DataError, match="limit is 200"):
        coder.code(["a" * 300])


def test_drawn_texts_are_coded_as_logged_ones_are() -> None:
    rng = np.random.default_rng(3)
    warm = rng.random(200) < 0.5
    texts = [f"{'Dear friend' if on else 'Hello'}, letter {i}" for i, on in enumerate(warm)]
    frame = pd.DataFrame({"text": texts, "outcome": warm + 0.1 * rng.normal(size=200)})
    embedder = {"name": "coded-attributes", "coder": {"name": "lexicon", "words": {"warm": ["dear"]}}}
    estimator = co.PseudoOutcomeEstimator(embedder=embedder, outcome_model="ridge", assignment_model="randomized")
    pseudo = estimator.fit_transform(co.DirectOutcomeDataset.from_frame(frame))
    assert pseudo.dose_response(["Dear reader", "Good evening"]) == pytest.approx([1.0, 0.0], abs=0.05)
