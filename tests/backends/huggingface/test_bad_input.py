"""What a fit is given or finds in its folder that it cannot use."""

from __future__ import annotations

from pathlib import Path

import filelock
import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_policies import TEXTS

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.backends.huggingface.checkpoints import last_checkpoint, load_weights
from causalopt.errors import ModelError
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
