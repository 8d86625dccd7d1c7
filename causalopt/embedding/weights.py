"""A hash of a pretrained model, used as a cache key."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def hash_model(model: torch.nn.Module, tokenizer: Any, *settings: object) -> str:
    """SHA-256 of the weights, the modules, the tokenizer and the settings, in hexadecimal.

    The loaded content is hashed, not its location: a folder whose model was trained further and saved is another model.
    """
    import torch

    digest = hashlib.sha256(repr((settings, str(model))).encode())
    # A tokenizer written in Python has only a vocabulary.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known = {"vocabulary": tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
    for state in ("truncation", "padding"):  # state of the last call, not of the tokenizer
        known.pop(state, None)
    digest.update(json.dumps(known, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(repr((name, tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
