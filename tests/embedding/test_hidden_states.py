"""Hidden states against a pass for each text alone, without batch, padding or mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from causalopt.embedding.hidden_states import HiddenStatesEmbedder
from causalopt.errors import ConfigError, ModelError, TruncationWarning

CONTEXT = 40


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama over letters, made of nothing of ours."""
    letters = {letter: i for i, letter in enumerate(["<end>", *"abcdefghijklmnopqrstuvwxyz "])}
    plain = Tokenizer(models.WordLevel(letters, unk_token=" "))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters), hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder), model, letters


def states(model, letters, text, layer):
    ids = torch.tensor([[letters[letter] for letter in text] or [0]])
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[layer][0]


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("layer", [-1, 0, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batch_and_padding_change_nothing(tiny, texts, pooling, layer, batch_size):
    folder, model, letters = tiny
    found = HiddenStatesEmbedder(folder, layer, pooling, batch_size).fit([]).transform([*texts, ""])
    assert found.dtype == np.float32
    for text, vector in zip([*texts, ""], found, strict=True):
        expected = states(model, letters, text, layer)
        assert vector == pytest.approx((expected.mean(0) if pooling == "mean" else expected[-1]).numpy(), abs=1e-4)


def test_the_layer_and_the_pooling_matter(tiny, texts):
    kinds = [(-1, "mean"), (-1, "last"), (0, "mean"), (2, "mean")]
    embedders = [HiddenStatesEmbedder(tiny[0], layer, pooling) for layer, pooling in kinds]
    vectors = [embedder.transform(texts) for embedder in embedders]
    assert all(np.abs(a - b).max() > 0.01 for i, a in enumerate(vectors) for b in vectors[:i])
    assert len({embedder.fingerprint() for embedder in embedders}) == 4


def test_what_is_cut_is_counted(tiny):
    folder, model, letters = tiny
    long = "a night " * 10
    with pytest.warns(TruncationWarning, match=f"1 of 2 texts are longer than the {CONTEXT} tokens"):
        found = HiddenStatesEmbedder(folder).transform(["a day", long])
    assert found[1] == pytest.approx(states(model, letters, long[:CONTEXT], -1).mean(0).numpy(), abs=1e-4)


def test_an_adapter_is_part_of_the_model(tiny, texts, tmp_path):
    from peft import LoraConfig, get_peft_model

    folder, _, letters = tiny
    base = LlamaForCausalLM.from_pretrained(folder)
    torch.manual_seed(1)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path)
    plain, found = HiddenStatesEmbedder(folder).transform(texts), HiddenStatesEmbedder(str(tmp_path)).transform(texts)
    assert np.abs(plain - found).max() > 0.01
    for text, vector in zip(texts, found, strict=True):
        assert vector == pytest.approx(states(adapted, letters, text, -1).mean(0).numpy(), abs=1e-4)


def test_what_it_cannot_do_is_named(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"layer is 7; .* has 3 layers, so it may be -4 to 3"):
        HiddenStatesEmbedder(tiny[0], layer=7).fit([])
    with pytest.raises(ConfigError, match="pooling must be mean or last, not 'max'"):
        HiddenStatesEmbedder(tiny[0], pooling="max")
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        HiddenStatesEmbedder(tiny[0], batch_size=0)
    with pytest.raises(ModelError, match="there is no such folder"):
        HiddenStatesEmbedder(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="cannot be loaded"):
        HiddenStatesEmbedder(str(tmp_path)).fit([])
