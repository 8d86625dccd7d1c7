from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gradients import moved_policy
from peft import PeftModel
from toy_policies import TEXTS
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from causalopt.backends.contracts import Policy
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import ModelError
from causalopt.language_models.load import load_model, prepare, trainable_twin, twin
from causalopt.language_models.quiet import quiet_transformers

SAMPLE = TEXTS[::6]


@pytest.fixture(scope="module")
def policy(reference: HuggingFacePolicy) -> HuggingFacePolicy:
    model = moved_policy(reference)
    prepare(model)
    return HuggingFacePolicy(model, reference.codec, base=None, sampling=reference.sampling)


def same(one: HuggingFacePolicy, other: HuggingFacePolicy) -> None:
    np.testing.assert_allclose(one.log_prob(None, SAMPLE), other.log_prob(None, SAMPLE), rtol=0, atol=1e-5)


def test_is_a_policy(policy: HuggingFacePolicy) -> None:
    assert isinstance(policy, Policy)


def test_full_model_comes_back(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    reference.save(tmp_path / "a")
    loaded = HuggingFacePolicy.load(tmp_path / "a")
    same(loaded, reference)
    assert loaded.sample(None, 5, seed=0) == reference.sample(None, 5, seed=0)
    assert loaded.codec.max_length == reference.codec.max_length
    assert loaded.sampling == reference.sampling
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in reference.model.parameters())


def test_adapter_comes_back_from_a_moved_folder(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    policy.save(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded = HuggingFacePolicy.load(tmp_path / "b")
    same(loaded, policy)
    assert loaded.sample(None, 5, seed=0) == policy.sample(None, 5, seed=0)
    loaded.save(tmp_path / "c")
    shutil.rmtree(tmp_path / "b")
    again = HuggingFacePolicy.load(tmp_path / "c")
    same(again, policy)


def test_is_a_standard_peft_folder(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    noted = json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert noted == "./base"
    with quiet_transformers():
        base = AutoModelForCausalLM.from_pretrained(tmp_path / noted, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.encode(SAMPLE[0]) == policy.codec.tokenizer.encode(SAMPLE[0])
    by_peft = HuggingFacePolicy(model.eval(), policy.codec, base=None)
    same(by_peft, policy)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert str(tmp_path) not in card


def test_an_adapter_of_somebody_else(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    """Nothing of ours in the folder: peft's files alone, with the base where they say."""
    base = policy.model.get_base_model()
    policy.save(tmp_path / "ours")
    shutil.move(tmp_path / "ours" / "base", tmp_path / "somewhere")
    (tmp_path / "ours" / "causalopt_policy.json").unlink()
    noted = tmp_path / "ours" / "adapter_config.json"
    noted.write_text(
        json.dumps({**json.loads(noted.read_text()), "base_model_name_or_path": str(tmp_path / "somewhere")})
    )
    loaded = HuggingFacePolicy.load(tmp_path / "ours")
    same(loaded, policy)
    assert loaded.codec.max_length == base.config.max_position_embeddings
    loaded.save(tmp_path / "again")
    assert not (tmp_path / "again" / "base").exists()
    again = json.loads((tmp_path / "again" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert not Path(again).is_absolute()
    assert Path(again).resolve() == tmp_path / "somewhere"
    again = HuggingFacePolicy.load(tmp_path / "again")
    same(again, policy)


@pytest.mark.parametrize("name", ["no/such-model", "nowhere", "."])
def test_a_missing_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        HuggingFacePolicy.load(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    with pytest.raises(ModelError, match="cannot be loaded"):
        HuggingFaceBackend(model=name).check()


def test_check_finds_what_is_there(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    HuggingFaceBackend(model="scratch:tiny").check()
    policy.save(tmp_path)
    for folder in (tmp_path, tmp_path / "base"):
        HuggingFaceBackend(model=str(folder)).check()
    shutil.rmtree(tmp_path / "base")
    for _ in range(2):
        with pytest.raises(ModelError, match=f"^{tmp_path}/base: is missing"):
            HuggingFaceBackend(model=str(tmp_path)).check()
        (tmp_path / "causalopt_policy.json").unlink(missing_ok=True)


def test_twin_shares_what_is_frozen(policy: HuggingFacePolicy) -> None:
    copied = twin(policy.model)
    mine, theirs = dict(policy.model.named_parameters()), dict(copied.named_parameters())
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert (mine[name] is theirs[name]) == ("lora_" not in name)
    assert copied.get_base_model().lm_head.weight is copied.get_base_model().model.embed_tokens.weight


def test_a_new_adapter_leaves_the_model_alone(reference: HuggingFacePolicy) -> None:
    before = reference.log_prob(None, SAMPLE)
    model = trainable_twin(reference.model, {"r": 4, "target_modules": "all-linear"}, seed=0)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name for name in trainable)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.ones_(parameter)
    np.testing.assert_array_equal(reference.log_prob(None, SAMPLE), before)
    assert not isinstance(reference.model, PeftModel)
    assert not any(p.requires_grad for p in reference.model.parameters())


def test_a_loaded_model_has_no_dropout(policy: HuggingFacePolicy, tmp_path: Path) -> None:
    size = len(policy.codec.tokenizer)
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=64, resid_pdrop=0.3)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    policy.codec.tokenizer.save_pretrained(tmp_path)
    model = load_model(tmp_path).model.train()
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_samples_ignore_the_models_own_generation_settings(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    reference.save(tmp_path)
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.01, "top_k": 1, "repetition_penalty": 3.0, "max_length": 5})
    )
    loaded = HuggingFacePolicy.load(tmp_path)
    assert loaded.sample(None, 20, seed=0) == reference.sample(None, 20, seed=0)
