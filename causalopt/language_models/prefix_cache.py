"""What is computed from a policy that is kept as it is, on disk under a hash of all that decides it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import PreTrainedTokenizerBase

from causalopt.language_models.scoring import CausalLM
from causalopt.typing import Float64

_DIGEST = 32
_digests: MutableMapping[Tensor, tuple[tuple[int, int] | None, bytes]] = WeakTensorKeyDictionary()


def weights_digest(model: CausalLM) -> str:
    """Return a SHA-256 of every weight with its name, shape and dtype."""
    return digest_of(model.state_dict(keep_vars=True))


def digest_of(tensors: Mapping[str, Any]) -> str:
    """Return a SHA-256 of tensors with their names, shapes and dtypes, in their order.

    A weight is hashed once for all models that share it, and again when it has changed. (An operation on its ``.data``
    does not count as a change.)
    """
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode() + _digest_of(tensor))
    return digest.hexdigest()


def _digest_of(tensor: Tensor) -> bytes:
    if tensor.is_inference():  # PyTorch does not count its changes
        return _hash(tensor)
    state = (tensor._version, tensor.data_ptr())
    known, digest = _digests.get(tensor, (None, b""))
    if known != state:
        digest = _hash(tensor)
        _digests[tensor] = (state, digest)
    return digest


def _hash(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.sha256(flat.data).digest()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a SHA-256 of a tokenizer's vocabulary, rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    about = [rules, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(about, default=repr).encode()).hexdigest()


def kept(directory: Path, parts: Iterable[Any], compute: Callable[[], Float64]) -> Float64:
    """Return a vector from ``directory``, or compute it and leave it there, whole or not at all.

    Parameters
    ----------
    directory:
        Made when it is not there.
    parts:
        All that decides the numbers, in JSON.
    compute:
        Called when the numbers are not there.
    """
    target = directory / f"{_key(parts)}.f64"
    found = _read(target)
    if found is not None:
        return np.frombuffer(found, dtype="<f8").astype(np.float64)
    values = compute()
    _write(target, values.astype("<f8").tobytes())
    return values


def kept_ids(directory: Path, parts: Iterable[Any], compute: Callable[[], list[list[int]]]) -> list[list[int]]:
    """Return token ids from ``directory``, as `kept` does an array."""
    target = directory / f"{_key(parts)}.json"
    found = _read(target)
    if found is None:
        ids = compute()
        _write(target, json.dumps(ids).encode())
        return ids
    kept_before: list[list[int]] = json.loads(found)
    return kept_before


def _key(parts: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def _read(target: Path) -> bytes | None:
    """Return what `_write` wrote; None if it is not there or is damaged, and so computed again."""
    try:
        content = target.read_bytes()
    except FileNotFoundError:
        return None
    digest, found = content[:_DIGEST], content[_DIGEST:]
    return found if hashlib.sha256(found).digest() == digest else None


def _write(target: Path, content: bytes) -> None:
    """Write a file whole or not at all; it begins with a digest of the rest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.write_bytes(hashlib.sha256(content).digest() + content)
    os.replace(partial, target)
