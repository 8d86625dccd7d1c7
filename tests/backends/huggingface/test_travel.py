"""A saved policy that was moved is loaded by peft, AutoPeft and transformers alone, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradients import moved_policy
from toy_policies import TEXTS

from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.language_models.base_weights import frozen_digest
from causalopt.language_models.load import adapter_names, prepare, trainable_twin

SAMPLE = TEXTS[::6]

ELSEWHERE = """
import json, os, sys
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])

def log_prob(model):
    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for text in texts:
        body = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *body, tokenizer.eos_token_id]])
        with torch.no_grad():
            logits = model.eval()(input_ids=ids).logits.log_softmax(-1)
        found.append(float(logits[0, :-1].gather(1, ids[0, 1:, None]).double().sum()))
    return found

found = {"transformers": log_prob(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))}
if os.path.exists(os.path.join(folder, "adapter_config.json")):
    base = AutoModelForCausalLM.from_pretrained(os.path.join(folder, "base"), dtype=torch.float32)
    found["base"] = log_prob(base)
    found["peft"] = log_prob(PeftModel.from_pretrained(base, folder))
    os.chdir(folder)
    found["AutoPeft"] = log_prob(AutoPeftModelForCausalLM.from_pretrained(".", dtype=torch.float32))
    folder = "."
    found["transformers, inside"] = log_prob(AutoModelForCausalLM.from_pretrained(".", dtype=torch.float32))
print(json.dumps(found))
"""


def elsewhere(folder: Path, texts: list[str]) -> dict[str, list[float]]:
    """Log-probabilities of texts by other libraries, in a new process with another working directory."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), json.dumps(texts)],
        cwd=folder.parent,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": str(folder.parent)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def policy(reference: HuggingFacePolicy) -> HuggingFacePolicy:
    model = moved_policy(reference)
    prepare(model)
    return HuggingFacePolicy(model, reference.codec, base=None, sampling=reference.sampling)


def test_a_moved_adapter_is_loaded_by_others(
    policy: HuggingFacePolicy, reference: HuggingFacePolicy, tmp_path: Path
) -> None:
    policy.save(tmp_path / "here" / "policy")
    shutil.move(tmp_path / "here" / "policy", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    found = elsewhere(tmp_path / "there", SAMPLE)
    base = found.pop("base")
    np.testing.assert_allclose(base, reference.log_prob(None, SAMPLE), rtol=0, atol=1e-4)
    expected = policy.log_prob(None, SAMPLE)
    assert np.abs(expected - base).min() > 1e-3
    assert sorted(found) == ["AutoPeft", "peft", "transformers", "transformers, inside"]
    for name, values in found.items():
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5, err_msg=name)
    for path in (tmp_path / "there").rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("lora", [{"r": 2}, {"r": 2, "modules_to_save": ["lm_head"]}, {"r": 2, "bias": "none"}])
def test_the_digest_of_a_base_is_the_same_under_an_adapter(
    reference: HuggingFacePolicy, lora: dict[str, object]
) -> None:
    before = frozen_digest(reference.model)
    model = trainable_twin(reference.model, {"target_modules": ["q_proj", "up_proj"], **lora}, 0)
    for name in adapter_names(model):
        model.get_parameter(name).data.add_(1.0)
    assert frozen_digest(model) == before
    model.get_base_model().model.norm.weight.data = model.get_base_model().model.norm.weight.data + 1e-6
    assert frozen_digest(model) != before
