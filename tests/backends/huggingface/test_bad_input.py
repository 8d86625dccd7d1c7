"""What a fit is given or finds in its folder that it cannot use."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import filelock
import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_policies import TEXTS

from causalopt.backends import load_policy
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.backends.huggingface.checkpoints import last_checkpoint, load_weights
from causalopt.backends.saved import name_backend
from causalopt.errors import ConfigError, ModelError
from causalopt.language_models.load import trainable_twin
from causalopt.language_models.scratch import train_tokenizer
from causalopt.language_models.tokenization import TextCodec
from causalopt.objectives.paper import DRCPO

TRAINING = {"max_steps": 4, "save_steps": 1, "per_device_train_batch_size": 16}


def test_a_folder_that_another_run_trains_in(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path
) -> None:
    backend = HuggingFaceBackend(training=TRAINING)
    backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(tmp_path))
    (folder,) = tmp_path.iterdir()
    with filelock.FileLock(str(folder / "_lock")), pytest.raises(ModelError, match="another run is training in it"):
        backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress(tmp_path))


def test_a_spoiled_step_leaves_the_last_good_checkpoint(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path
) -> None:
    spoiled = {**TRAINING, "learning_rate": 1e30, "max_grad_norm": 0.0, "warmup_steps": 2}  # of rate 0 at first
    with pytest.raises(ModelError, match=r"rows \[.*checkpoints of earlier steps are kept"):
        HuggingFaceBackend(training=spoiled).fit(
            problem, DRCPO(), reference=reference, seed=0, progress=Progress(tmp_path)
        )
    (folder,) = tmp_path.iterdir()
    assert last_checkpoint(folder) is not None
    weights = load_file(folder / "checkpoint-1" / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_checkpoint_of_another_model(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    model = trainable_twin(reference.model, {"r": 4, "target_modules": "all-linear"}, seed=0)
    with pytest.raises(ModelError, match="weights are not those of this fit"):
        load_weights(model, tmp_path)
    other = trainable_twin(reference.model, {"r": 8, "target_modules": "all-linear"}, seed=0)
    other.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="weights are not those of this fit"):
        load_weights(model, tmp_path)
    whole = trainable_twin(reference.model, None, seed=0)
    save_file({"model.norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="weights are not those of this fit"):
        load_weights(whole, tmp_path)


def test_a_tokenizer_without_padding_is_enough(reference: HuggingFacePolicy) -> None:
    tokenizer = train_tokenizer(TEXTS)
    tokenizer.pad_token = None
    codec = TextCodec(tokenizer, reference.codec.max_length)
    policy = HuggingFacePolicy(reference.model, codec, base=None)
    assert policy.log_prob(None, TEXTS[:3]).shape == (3,)
    assert len(policy.with_limits(30).sample(None, 3, seed=0)) == 3


DAMAGE = {
    "empty": b"",
    "a pickle": pickle.dumps({"weights": 1}),
    "noise": b"\x00\xff\xfe" * 50,
    "deep": b"[" * 50_000,
    "a list": b"[]",
    "an empty object": b"{}",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "causalopt_policy.json", "causalopt_backend.json"]
)
def test_a_saved_policy_with_a_damaged_file(
    reference: HuggingFacePolicy, tmp_path: Path, name: str, damage: str
) -> None:
    reference.save(tmp_path / "policy")
    (tmp_path / "policy" / name).write_bytes(DAMAGE[damage])
    with pytest.raises(ModelError) as caught:
        load_policy(tmp_path / "policy")
    assert str(tmp_path / "policy") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("key", "value"), [
    ("max_length", "long"), ("max_length", 0), ("on_long_text", "cut"), ("chat_template", [1]), ("sampling", 3),
    ("sampling", {"batch_size": 0}), ("base", 3), ("attn_implementation", 3),
])  # fmt: skip
def test_a_note_of_a_policy_with_a_wrong_value(
    reference: HuggingFacePolicy, tmp_path: Path, key: str, value: object
) -> None:
    reference.save(tmp_path)
    note = tmp_path / "causalopt_policy.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), key: value}))
    name_backend(tmp_path, "huggingface")  # its digests too are of what was written
    with pytest.raises(ModelError, match=rf"causalopt_policy\.json: {key}.*; save the policy again"):
        load_policy(tmp_path)


@pytest.mark.parametrize(("training", "said"), [
    ({"lr_scheduler_kwargs": {"zzz": 1}}, "zzz"), ({"log_level": "nope"}, "nope"),
])  # fmt: skip
def test_settings_that_a_trainer_looks_at_late(
    reference: HuggingFacePolicy, problem: PolicyProblem, training: dict[str, object], said: str
) -> None:
    backend = HuggingFaceBackend(training={**TRAINING, **training})
    with pytest.raises(ConfigError, match=rf"^backend\.training: .*{said}"):
        backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())


@pytest.mark.parametrize("lora", [
    {"r": 0}, {"target_modules": "["}, {"target_modules": [3]}, {"bias": "nope"}, {"init_lora_weights": 3},
    {"rank_pattern": 3}, {"megatron_config": 3},
])  # fmt: skip
def test_settings_of_an_adapter_that_do_not_suit(reference: HuggingFacePolicy, lora: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"^backend\.lora"):
        trainable_twin(reference.model, {"r": 4, "target_modules": "all-linear", **lora}, seed=0)
