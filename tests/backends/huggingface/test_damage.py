"""Each way of damaging a saved model or adapter is refused by one line when it is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gradients import moved_policy
from safetensors.torch import load_file, save_file
from toy_policies import TEXTS

from causalopt.backends import load_policy
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.backends.saved import name_backend
from causalopt.errors import CausalOptWarning, ModelError
from causalopt.language_models.load import load_model, prepare, trainable_twin

ADAPTER, BASE, FULL = "adapter/adapter_model.safetensors", "adapter/base/model.safetensors", "full/model.safetensors"
WEIGHTS = (ADAPTER, BASE, FULL)


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zero_length(file: Path) -> None:
    file.write_bytes(b"")


def gone(file: Path) -> None:
    file.unlink()


def flipped_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)


def renamed_tensor(file: Path) -> None:
    tensors = load_file(file)
    first = sorted(tensors)[0]
    tensors[f"{first}.old"] = tensors.pop(first)
    save_file(tensors, file, metadata={"format": "pt"})


def without_a_layer(file: Path) -> None:
    kept = {name: tensor for name, tensor in load_file(file).items() if ".layers.1." not in name}
    save_file(kept, file, metadata={"format": "pt"})


def another_number(key: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**content, key: content[key] - 1}), encoding="utf-8")

    return change


SEEN = [
    *((name, change) for name in WEIGHTS for change in (half, zero_length, gone, renamed_tensor, without_a_layer)),
    ("adapter/adapter_config.json", another_number("r")),
    ("adapter/base/config.json", another_number("num_hidden_layers")),
    ("full/config.json", another_number("num_hidden_layers")),
    *(
        (f"{name}/{file}", change)
        for name in ("adapter", "full")
        for file in ("tokenizer.json", "tokenizer_config.json")
        for change in (half, zero_length, gone)
    ),
    *(
        (f"{name}/tokenizer_config.json", change)
        for name in ("adapter", "full")
        for change in (half, zero_length, gone)
    ),
]
"""What shows in the files themselves, whatever is known of how they were."""
BY_DIGEST = [(name, flipped_byte) for name in WEIGHTS]


@pytest.fixture(scope="module")
def saved(reference: HuggingFacePolicy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    reference.save(folder / "full")
    model = moved_policy(reference)
    prepare(model)
    HuggingFacePolicy(model, reference.codec, base=None).save(folder / "adapter")
    for name in ("full", "adapter"):
        load_policy(folder / name)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_policy(folder)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert str(folder) in said
    return said


@pytest.mark.parametrize(("name", "change"), [*SEEN, *BY_DIGEST])
def test_a_changed_file_is_named(saved: Path, tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    change(tmp_path / name)
    assert str(tmp_path / name) in refused(tmp_path / name.split("/")[0])


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize(("name", "change"), SEEN)
def test_it_is_refused_without_digests_too(
    saved: Path, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    change(tmp_path / name)
    folder = tmp_path / name.split("/")[0]
    name_backend(folder, "huggingface")
    refused(folder)


@pytest.mark.parametrize("change", [flipped_byte, "another model"])
def test_another_base_than_the_one_it_was_trained_on(saved: Path, tmp_path: Path, change: object) -> None:
    """A base that is named, not saved with the adapter: what it was is in the adapter's note."""
    base = Path(shutil.copytree(saved / "full", tmp_path / "base model"))
    loaded = load_model(base)
    codec = HuggingFacePolicy.load(base).codec
    model = trainable_twin(loaded.model, {"r": 2, "target_modules": ["q_proj"]}, 0)
    policy = HuggingFacePolicy(model.eval(), codec, base=str(base))
    policy.save(tmp_path / "policy")
    np.testing.assert_array_equal(
        load_policy(tmp_path / "policy").log_prob(None, TEXTS[:3]), policy.log_prob(None, TEXTS[:3])
    )
    if change is flipped_byte:
        flipped_byte(base / "model.safetensors")
    else:
        tensors = load_file(base / "model.safetensors")
        save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, base / "model.safetensors")
    assert "was trained on other weights" in refused(tmp_path / "policy")


@pytest.mark.parametrize("noted", ["flash_attention_2", "flex_attention", "sdpa", "eager"])
def test_a_saved_attention_does_not_stop_another_machine(saved: Path, tmp_path: Path, noted: str) -> None:
    note = Path(shutil.copytree(saved / "full", tmp_path / "full")) / "causalopt_policy.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "attn_implementation": noted}))
    name_backend(note.parent, "huggingface")
    if noted in ("sdpa", "eager"):
        assert load_policy(note.parent).model.config._attn_implementation == noted  # type: ignore[attr-defined]
        return
    with pytest.warns(CausalOptWarning, match=f"{noted}.*this machine's own"):
        loaded = load_policy(note.parent)
    assert isinstance(loaded, HuggingFacePolicy)
    assert loaded.model.config._attn_implementation == "sdpa_short"
    assert loaded.model.dtype == torch.float32
    own = load_policy(saved / "full").log_prob(None, TEXTS[:3])
    np.testing.assert_allclose(loaded.log_prob(None, TEXTS[:3]), own, rtol=0, atol=1e-4)
