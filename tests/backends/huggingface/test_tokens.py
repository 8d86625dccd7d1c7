"""What a backend says of texts before its model is loaded: against transformers itself."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from causalopt import HuggingFaceBackend
from causalopt.backends.contracts import TokenizingBackend
from causalopt.errors import DataError
from causalopt.language_models.smollm2 import smollm2_folder

PROMPTS = ["Which colour?", "Name a river, please."]
TEXTS = ["Red.", "The river Rhine, which flows to the sea."]


@pytest.fixture
def no_weights(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("the weights were read")

    folder = smollm2_folder()
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refused)
    return AutoTokenizer.from_pretrained(folder)


def test_tokens_are_those_of_the_tokenizer(no_weights):
    backend = HuggingFaceBackend(model="smollm2")
    assert isinstance(backend, TokenizingBackend)
    found = backend.tokens(None, TEXTS)
    alone = [len(no_weights(text)["input_ids"]) + 1 for text in TEXTS]
    assert found.lengths.tolist() == alone
    assert found.with_prompts.tolist() == [number + 1 for number in alone]  # the token that begins a text
    assert (found.chat_template, found.system_prompt, found.cut) == (False, None, 0)


def test_the_template_and_its_system_prompt_are_named(no_weights):
    found = HuggingFaceBackend(model="smollm2").tokens(PROMPTS, TEXTS)
    turns = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    before = [len(no_weights.apply_chat_template(one, add_generation_prompt=True)["input_ids"]) for one in turns]
    assert (found.with_prompts - found.lengths).tolist() == before
    assert found.chat_template
    assert found.inserted
    written = no_weights.apply_chat_template(turns[0], tokenize=False)
    assert found.system_prompt is not None
    assert found.system_prompt in written
    chosen = HuggingFaceBackend(model="smollm2", system_prompt="Be brief.").tokens(PROMPTS, TEXTS)
    assert (chosen.system_prompt, chosen.inserted) == ("Be brief.", False)
    plain = HuggingFaceBackend(model="smollm2", chat_template=False).tokens(PROMPTS, TEXTS)
    assert (plain.chat_template, plain.system_prompt) == (False, None)


def test_texts_that_are_too_long_are_counted_or_refused_now(no_weights):
    found = HuggingFaceBackend(model="smollm2", max_length=6, on_long_text="truncate").tokens(None, TEXTS)
    assert found.limit == 6
    assert found.cut == 1
    with pytest.raises(DataError, match=r"text 1 has .* tokens .* backend.max_length"):
        HuggingFaceBackend(model="smollm2", max_length=6).tokens(None, TEXTS)


def test_a_model_from_scratch_fits_its_texts():
    found = HuggingFaceBackend(model="scratch:tiny").tokens(None, [*TEXTS, TEXTS[0]])
    assert found.limit is None
    assert found.cut == 0
    assert found.lengths[0] == found.lengths[2] < found.lengths[1]
    assert np.array_equal(found.with_prompts, found.lengths + 1)
