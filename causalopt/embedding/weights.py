"""A hash of a pretrained model, for the key of a cache."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def hash_model(model: torch.nn.Module, tokenizer: Any, *settings: object) -> str:
    """SHA-256 of the weights, the modules, the tokenizer and the settings, in hexadecimal.

    Hashed is what was loaded rather than where from: a folder that is trained on and saved again is another model.
    """
    import torch

    digest = hashlib.sha256(repr((settings, str(model))).encode())
    # A tokenizer written in Python has a vocabulary alone.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known = {"vocabulary": tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
    for state in ("truncation", "padding"):  # of the last call, not of the tokenizer
        known.pop(state, None)
    digest.update(json.dumps(known, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
