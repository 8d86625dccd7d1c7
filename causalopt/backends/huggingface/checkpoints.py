"""Checkpoints in a folder named by everything that determines a fit, so that no other fit is resumed from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from causalopt.errors import ModelError
from causalopt.language_models.integrity import differences, read_json
from causalopt.language_models.scoring import CausalLM

_ELEMENTS = 65_536


def fingerprint(parts: Iterable[Any]) -> str:
    """Return 16 hex digits of a hash of strings, arrays, models and anything that JSON or `repr` can write.

    Of a large weight a regular sample of elements is hashed: two models that differ by training also differ in it.

    Examples
    --------
    >>> from causalopt.backends.huggingface.checkpoints import fingerprint
    >>> fingerprint(["a", 1]) == fingerprint(["a", 1]), fingerprint(["a", 1]) == fingerprint(["a", 2])
    (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.shape}{part.dtype}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, nn.Module):
            for name, tensor in part.state_dict().items():
                flat = tensor.detach().flatten()
                sample = flat[:: max(1, len(flat) // _ELEMENTS)].float().cpu().numpy()
                digest.update(f"{name}{tuple(tensor.shape)}".encode() + sample.tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=repr).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def last_checkpoint(directory: Path) -> Path | None:
    """Return the last complete checkpoint: Trainer writes its state last, so in an interrupted one it is invalid."""
    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def load_weights(model: CausalLM, checkpoint: Path) -> None:
    """Load the trained weights of a checkpoint into an unsharded model.

    Raises
    ------
    ModelError
        If the checkpoint has no weights, or those of another model.
    """
    adapter, full = checkpoint / "adapter_model.safetensors", checkpoint / "model.safetensors"
    try:
        if isinstance(model, PeftModel):
            found = load_file(adapter)
            other = differences(found, get_peft_model_state_dict(model))
            if other:
                raise ValueError(other)
            set_peft_model_state_dict(model, found)
        else:
            found = load_file(full) if full.is_file() else _shards(checkpoint)
            wanted = model.state_dict()
            other = differences(found, wanted, optional=partial(_is_tied, wanted, found))
            if other:
                raise ValueError(other)
            model.load_state_dict(found, strict=False)
            model.tie_weights()
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError, ModelError) as error:
        raise ModelError(
            f"{checkpoint}: its weights are not those of this fit: {str(error).splitlines()[0]}"
        ) from error


def _shards(checkpoint: Path) -> dict[str, Tensor]:
    """Read a model that is stored in several files."""
    index = read_json(checkpoint / "model.safetensors.index.json")
    files = sorted(set(index["weight_map"].values()))
    return {name: tensor for file in files for name, tensor in load_file(checkpoint / file).items()}


def _is_tied(wanted: dict[str, Tensor], found: dict[str, Tensor], name: str) -> bool:
    """Whether a tensor that is not in the file shares its memory with one that is: a tied weight is written once."""
    return any(wanted[other].data_ptr() == wanted[name].data_ptr() for other in found if other in wanted)
