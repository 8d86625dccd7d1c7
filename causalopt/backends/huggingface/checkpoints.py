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
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from causalopt.durable import changed, digests, write_text
from causalopt.errors import ModelError
from causalopt.language_models.integrity import differences, read_json
from causalopt.language_models.scoring import CausalLM

_ELEMENTS = 65_536
DIGESTS = "causalopt_digests.json"


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


class NoteDigests(TrainerCallback):  # type: ignore[misc]
    """Writes what the files of each checkpoint are when it is complete: nothing flushes those of Trainer to disk."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the digests beside the checkpoint's files; called after Trainer has written all of them."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            written = digests(folder, sorted(path.name for path in folder.iterdir()))
            write_text(folder / DIGESTS, json.dumps(written, indent=1) + "\n")


def last_checkpoint(directory: Path) -> Path | None:
    """Return the last complete checkpoint with undamaged files; an interrupted or damaged one counts as missing."""
    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        try:
            written = json.loads((path / DIGESTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if changed(path, written) is None:
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
