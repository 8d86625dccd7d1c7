"""What is read must be what was meant: every tensor of a model or adapter, and none of its own Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from peft.utils import load_peft_weights
from torch import Tensor

from causalopt.errors import ModelError, one_line

SHOWN = 3
"""Names of tensors in a message."""


def refuse_own_code(folder: Path) -> None:
    """Raise `ModelError` when a model's folder asks for Python of its own to be run."""
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if file.is_file() and "auto_map" in read_json(file):
            raise ModelError(
                f"{file}: the model brings its own Python code (auto_map), which is never run; use a model that "
                "transformers knows"
            )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object, or raise `ModelError` with the file's name."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: is not valid JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{file}: must hold a JSON object")
    return found


def check_whole(name: str | Path, info: Mapping[str, Any], new_head: str | None = None) -> None:
    """Raise `ModelError` unless a model was loaded whole.

    Parameters
    ----------
    name:
        Name of the model, for the message.
    info:
        The loading info of `from_pretrained`. A tied weight that is written once is not missing in it.
    new_head:
        Prefix of weights that the file need not have, since they are learned anew in place of the language head.
    """
    missing = [key for key in info["missing_keys"] if new_head is None or not key.startswith(new_head)]
    unexpected = [key for key in info["unexpected_keys"] if new_head is None or not key.startswith("lm_head")]
    mismatched = [one[0] if isinstance(one, tuple | list) else one for one in info["mismatched_keys"]]
    _refuse(name, _listed(missing, unexpected, mismatched))


def check_adapter(folder: Path, model: PeftModel) -> None:
    """Raise `ModelError` unless a folder holds the adapter's tensors, all of them, in their shapes, and no others."""
    compare(folder, load_peft_weights(str(folder), device="cpu"), get_peft_model_state_dict(model))


def compare(name: str | Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise `ModelError` unless two sets of tensors have the same names and shapes."""
    _refuse(name, differences(found, wanted))


def differences(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], optional: Callable[[str], bool] = lambda key: False
) -> str:
    """Say in which names and shapes two sets of tensors differ, or nothing; ``optional`` ones may be absent."""
    missing = [key for key in wanted if key not in found and not optional(key)]
    mismatched = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    return _listed(missing, [key for key in found if key not in wanted], mismatched)


def _listed(missing: list[str], unexpected: list[str], mismatched: list[str]) -> str:
    said = [
        f"{len(keys)} {what} ({', '.join(sorted(keys)[:SHOWN])}{', ...' if len(keys) > SHOWN else ''})"
        for keys, what in (
            (missing, "tensors are missing"),
            (unexpected, "tensors are none of this model"),
            (mismatched, "tensors have another shape"),
        )
        if keys
    ]
    return "; ".join(said)


def _refuse(name: str | Path, said: str) -> None:
    if said:
        raise ModelError(f"{name}: its files do not hold this model: {said}; get the files again")
