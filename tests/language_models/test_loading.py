"""A model or adapter is loaded whole or not at all, and never runs code of its own."""

from __future__ import annotations

import copy
import gc
import json
import shutil
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from toy_policies import TEXTS
from transformers import AutoModelForCausalLM

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.backends.huggingface.checkpoints import load_weights
from causalopt.backends.saved import name_backend
from causalopt.cli.main import main
from causalopt.errors import ModelError
from causalopt.language_models.load import find_model, load_model, trainable_twin
from causalopt.nuisance.outcome.text_regression import _pretrained
from causalopt.objectives.paper import DRCPO

Tensors = dict[str, Tensor]


def without_first(tensors: Tensors) -> Tensors:
    return {name: tensors[name] for name in sorted(tensors)[1:]}


def renamed(tensors: Tensors) -> Tensors:
    return {f"another.{name}": tensor for name, tensor in tensors.items()}


def half(tensors: Tensors) -> Tensors:
    names = sorted(tensors)
    return {name: tensors[name] for name in names[: len(names) // 2]}


def empty(tensors: Tensors) -> Tensors:
    return {"nothing": torch.zeros(0)}


def reshaped(tensors: Tensors) -> Tensors:
    return {name: tensor[:1].clone() if tensor.ndim == 2 else tensor for name, tensor in tensors.items()}


DAMAGE = [without_first, renamed, half, empty, reshaped]


@pytest.fixture(scope="module")
def saved(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``full`` is a whole model, ``adapter`` an adapter with its base."""
    folder = tmp_path_factory.mktemp("saved")
    reference.save(folder / "full")
    training = {"max_steps": 1, "per_device_train_batch_size": 8}
    policy = HuggingFaceBackend(training=training).fit(
        problem, DRCPO(), reference=reference, seed=0, progress=Progress()
    )
    policy.save(folder / "adapter")
    return folder


def damaged(source: Path, target: Path, change: Callable[[Tensors], Tensors], file: str) -> Path:
    shutil.copytree(source, target)
    save_file(change(load_file(target / file)), target / file, metadata={"format": "pt"})
    return target


def test_what_is_whole_is_loaded(saved: Path) -> None:
    for name in ("full", "adapter"):
        assert np.isfinite(HuggingFacePolicy.load(saved / name).log_prob(None, TEXTS[:2])).all()


@pytest.mark.parametrize("change", DAMAGE)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("full", "model.safetensors"),
        ("adapter", "adapter_model.safetensors"),
        ("adapter", "base/model.safetensors"),
    ],
)
def test_a_model_without_all_its_tensors_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], name: str, file: str
) -> None:
    folder = damaged(saved / name, tmp_path / name, change, file)
    with pytest.raises(ModelError, match=str(tmp_path)) as raised:
        HuggingFacePolicy.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["model.safetensors", "adapter_model.safetensors"])
def test_a_file_that_is_cut_off_or_gone_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    source = saved / ("adapter" if name.startswith("adapter") else "full")
    cut = shutil.copytree(source, tmp_path / "cut")
    (cut / name).write_bytes((cut / name).read_bytes()[:-100])
    gone = shutil.copytree(source, tmp_path / "gone")
    (gone / name).unlink()
    for folder in (cut, gone):
        with pytest.raises(ModelError):
            HuggingFacePolicy.load(folder)


@pytest.mark.parametrize("change", [without_first, renamed, half, empty])
@pytest.mark.parametrize("lora", [{"r": 2}, None])
def test_a_checkpoint_without_all_its_tensors_is_refused(
    reference: HuggingFacePolicy, tmp_path: Path, change: Callable[[Tensors], Tensors], lora: dict[str, int] | None
) -> None:
    model = trainable_twin(reference.model, lora, 0)
    model.save_pretrained(tmp_path / "whole")
    load_weights(model, tmp_path / "whole")
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    with pytest.raises(ModelError, match="tensors are missing"):
        load_weights(model, damaged(tmp_path / "whole", tmp_path / "other", change, file))


def test_an_outcome_model_of_text_is_whole_but_for_its_head(saved: Path, tmp_path: Path) -> None:
    _pretrained(str(saved / "full"))
    folder = damaged(saved / "full", tmp_path / "half", half, "model.safetensors")
    with pytest.raises(ModelError, match="tensors are missing"):
        _pretrained(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_s_own_code_is_not_run(saved: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(saved / "full", tmp_path / "own")
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Own: pass\n")
    content = json.loads((folder / name).read_text())
    content["auto_map"] = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own", "AutoTokenizer": "own.Own"}
    (folder / name).write_text(json.dumps(content))
    for load in (HuggingFacePolicy.load, find_model, lambda path: _pretrained(str(path))):
        with pytest.raises(ModelError, match="brings its own Python code"):
            load(folder)
    assert not marker.exists()


def test_the_command_line_says_it_in_a_line(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(saved / "adapter", tmp_path / "half", half, "adapter_model.safetensors")
    name_backend(folder, "huggingface")  # its digests too are of the half
    monkeypatch.setattr(sys, "argv", ["causalopt", "generate", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "tensors are missing" in said
    assert "Traceback" not in said


def test_a_model_is_read_once_while_it_is_used(tmp_path, monkeypatch, reference):
    """Copies share the weights, not the modules or the configuration; files that are written anew are read anew."""
    reads, read = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *a, **k: reads.append(a) or read(*a, **k))
    reference.save(tmp_path)
    first, second = load_model(tmp_path).model, load_model(tmp_path, "sdpa").model
    assert len(reads) == 2  # another attention is another function
    second = load_model(tmp_path, first.config._attn_implementation).model
    assert len(reads) == 2
    weights = first.get_input_embeddings().weight
    assert second.get_input_embeddings().weight is weights
    assert second.config is not first.config
    assert second.get_input_embeddings() is not first.get_input_embeddings()
    full = trainable_twin(first, None, 0)
    assert full.get_input_embeddings().weight is not weights
    del first
    assert load_model(tmp_path).model.get_input_embeddings().weight is weights
    moved = copy.deepcopy(reference.model)
    with torch.no_grad():
        moved.get_input_embeddings().weight[3] += 1.0
    reference.with_model(moved).save(tmp_path)
    third = load_model(tmp_path).model
    assert len(reads) == 3
    assert not torch.equal(third.get_input_embeddings().weight, weights)
    gone = weakref.ref(third.get_input_embeddings().weight)
    del third
    gc.collect()
    assert gone() is None  # nothing keeps what is no longer used
