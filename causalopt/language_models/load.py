"""Models by name (``smollm2``, a hub id, a folder, a folder with a PEFT adapter), and twins that share weights."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from causalopt.errors import CausalOptError, ConfigError, ModelError, one_line
from causalopt.language_models import smollm2
from causalopt.language_models.base_weights import frozen_digest
from causalopt.language_models.device import default_device
from causalopt.language_models.integrity import check_adapter, check_whole, read_json, refuse_own_code
from causalopt.language_models.kernels.attention import NAME as SHORT_ATTENTION
from causalopt.language_models.kernels.attention import use_short_attention
from causalopt.language_models.quantization import quantization_config, settle
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.shared_weights import files_of, leave_origin, read_once
from causalopt.output import impossible, shown_path

BASE = "base"
"""Folder beside an adapter with its base model, where no name leads to it."""
BESIDE = f"./{BASE}"
"""What an adapter's configuration then calls it: with a dot, so that it is never taken for a hub id."""
BASE_DIGEST = "base_sha256"
"""Key of a policy's note: what its adapter was trained on."""


class Loaded(NamedTuple):
    """A model with its tokenizer, and the name that finds its base again (None: it lies beside the adapter)."""

    model: CausalLM
    tokenizer: PreTrainedTokenizerBase
    base: str | None


def load_model(
    name: str | Path, attn_implementation: str | None = None, quantization: Mapping[str, Any] | None = None
) -> Loaded:
    """Load a causal language model in float32, frozen, without dropout, and its tokenizer.

    Its weights are read once for all models of these files that are in use, which share them: they must not be changed.

    Parameters
    ----------
    name:
        ``smollm2``, a folder with a model or a PEFT adapter, or a hub id.
    attn_implementation:
        As transformers names it ("eager", "sdpa", ...); when None its own choice, with `short_attention` on a CPU.
    quantization:
        As `check_quantization` gives it, of the base of an adapter; that with which a policy was saved when None.

    Raises
    ------
    ConfigError
        When bitsandbytes is needed and not installed.
    ModelError
        When there is no such model, its files cannot be read or lack a tensor, or it asks for code of its own.
    """
    path = Path(smollm2.smollm2_folder()) if str(name) == smollm2.NAME else Path(name)
    adapter, rules = path / "adapter_config.json", path / "tokenizer_config.json"
    refuse_own_code(path)
    if _note(adapter) and not rules.is_file():  # from elsewhere an adapter may have none, and takes that of its base
        raise ModelError(
            f"{rules}: is missing, and with it the tokens that begin and end a text; save the policy again"
        )
    if attn_implementation == SHORT_ATTENTION:  # noted by a policy for which none was chosen
        attn_implementation = None
    try:
        if adapter.is_file():
            noted, found = _note(adapter), base_of(path)
            plain, tokenizer, base = load_model(found, attn_implementation, quantization or noted.get("quantization"))
            base = None if found == str(path / BASE) else base
            if noted.get(BASE_DIGEST) is not None and frozen_digest(plain) != noted[BASE_DIGEST]:
                raise ModelError(
                    f"{path}: its adapter was trained on other weights than those of {found!r} (SHA-256); "
                    "restore the base model that it was trained on"
                )
            if rules.is_file():
                tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            with quiet_transformers():
                model: CausalLM = PeftModel.from_pretrained(plain, path)
            # Where it was read from: for another name peft asks the hub, each time that it lists the adapter's weights.
            model.active_peft_config.base_model_name_or_path = plain.config._name_or_path
            check_adapter(path, model)
        else:
            source, base = (str(path) if path.is_dir() else str(name)), str(name)
            with quiet_transformers():
                config = AutoConfig.from_pretrained(source, trust_remote_code=False)
                _remove_dropout(config)
                tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
                key = files_of(path) if path.is_dir() else (source, getattr(config, "_commit_hash", None))
                how = (attn_implementation, json.dumps(quantization, sort_keys=True, default=repr))
                model = read_once((*key, *how), lambda: _read(name, source, config, attn_implementation, quantization))
    except (CausalOptError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # damaged files fail in more ways than there are kinds of errors
        raise _not_loaded(name, error) from error
    prepare(model)
    return Loaded(model, tokenizer, base)


def _read(
    name: str | Path,
    source: str,
    config: Any,
    attn_implementation: str | None,
    quantization: Mapping[str, Any] | None,
) -> PreTrainedModel:
    """Read a model's weights; its attention is as in `load_model`."""
    model, info = AutoModelForCausalLM.from_pretrained(
        source,
        config=config,
        trust_remote_code=False,
        output_loading_info=True,
        dtype=torch.float32,
        attn_implementation=attn_implementation,
        **_in_4_bits(config, quantization),
    )
    check_whole(name, info)
    if getattr(model, "is_loaded_in_4bit", False):
        settle(model)
    if attn_implementation is None:
        use_short_attention(model)
    return model


def load_tokenizer(name: str | Path) -> tuple[PreTrainedTokenizerBase, Any]:
    """Return the tokenizer and the configuration of a model, as `load_model` would, without reading its weights.

    Raises
    ------
    ModelError
        When there is no such model, its files cannot be read, or it asks for code of its own.
    """
    path = Path(smollm2.smollm2_folder()) if str(name) == smollm2.NAME else Path(name)
    refuse_own_code(path)
    try:
        if (path / "adapter_config.json").is_file():
            tokenizer, config = load_tokenizer(base_of(path))
            if (path / "tokenizer_config.json").is_file():
                tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            return tokenizer, config
        source = str(path) if path.is_dir() else str(name)
        with quiet_transformers():
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            return AutoTokenizer.from_pretrained(source, trust_remote_code=False), config
    except CausalOptError:
        raise
    except Exception as error:  # as above
        raise _not_loaded(name, error) from error


def find_model(name: str | Path) -> None:
    """Look for a model and its configuration without reading the weights.

    Raises
    ------
    ModelError
        When there is no such model, or it is not a language model that transformers knows.
    """
    if str(name) == smollm2.NAME:
        return smollm2.check_smollm2()
    unusable = impossible(name)
    if unusable is not None:
        raise ModelError(f"model {shown_path(name)}: {unusable}; name a hub id, a folder or 'smollm2'")
    path = Path(name)
    if (path / "adapter_config.json").is_file():
        return find_model(base_of(path))
    refuse_own_code(path)
    try:
        with quiet_transformers():
            AutoConfig.from_pretrained(str(path) if path.is_dir() else str(name), trust_remote_code=False)
    except Exception as error:  # as above
        raise _not_loaded(name, error) from error


def _not_loaded(name: str | Path, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
    kind = "" if isinstance(error, OSError | ValueError | RuntimeError) and reason else f"{type(error).__name__} "
    return ModelError(
        f"model {str(name)!r} cannot be loaded (a hub id, a folder or 'smollm2'): {kind}{reason}".rstrip()
    )


def prepare(model: CausalLM) -> None:
    """Freeze a model and set it to inference on this process's device."""
    model.requires_grad_(False)
    model.eval()
    model.to(default_device())


def twin(model: CausalLM) -> CausalLM:
    """Copy the modules and share the frozen weights, so that a second policy costs no second model.

    Parameters
    ----------
    model:
        Left as it is; weights of an adapter are copied, all others shared.
    """
    adapter = adapter_names(model)
    shared = {
        id(tensor): tensor
        for name, tensor in chain(model.named_parameters(), model.named_buffers())
        if name not in adapter
    }
    copied: CausalLM = copy.deepcopy(model, shared)
    return copied


def trainable_twin(model: CausalLM, lora: Mapping[str, Any] | None, seed: int) -> CausalLM:
    """Return a model that starts at ``model`` and can be trained without changing it.

    Parameters
    ----------
    model:
        Its adapter, when it has one, is copied and trained further, with the settings that it has.
    lora:
        Settings of `peft.LoraConfig` for a new adapter; None trains all weights of a copy.
    seed:
        Seed of the new adapter's weights; the global random state is restored afterwards.

    Raises
    ------
    ConfigError
        When ``lora`` does not suit the model.
    """
    if isinstance(model, PeftModel):
        copied = twin(model)
        adapter = adapter_names(copied)
        for name, parameter in copied.named_parameters():
            parameter.requires_grad_(name in adapter)
        return copied
    if lora is None:
        full: CausalLM = copy.deepcopy(model)
        leave_origin(full)
        return full.requires_grad_(True)
    with torch.random.fork_rng(), quiet_transformers():
        torch.manual_seed(seed)
        try:
            return get_peft_model(twin(model), lora_config(lora))
        except (CausalOptError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # peft looks at few of its settings before it uses them
            raise ConfigError(f"backend.lora does not suit the model: {one_line(error)}") from error


def lora_config(lora: Mapping[str, Any]) -> LoraConfig:
    """Return an adapter's settings as peft takes them; `ConfigError` when they contradict each other."""
    settings = {"lora_alpha": 2 * int(lora.get("r", 8)), **lora}
    try:
        return LoraConfig(task_type=TaskType.CAUSAL_LM, lora_dropout=0.0, **settings)
    except Exception as error:  # as above
        raise ConfigError(f"backend.lora: {one_line(error)}") from error


def adapter_names(model: CausalLM) -> set[str]:
    """Return the names of an adapter's parameters; none without an adapter."""
    if not isinstance(model, PeftModel):
        return set()
    marks = (model.base_model.prefix, "modules_to_save.")
    return {name for name, _ in model.named_parameters() if any(mark in name for mark in marks)}


def base_of(folder: Path) -> str:
    """Return the base of an adapter as `load_model` takes it: a folder beside the adapter, or a name.

    A name is the one that a policy noted, else the one that peft noted.

    Raises
    ------
    ModelError
        When there is no base, or the one that should lie beside the adapter does not.
    """
    adapter = folder / "adapter_config.json"
    beside = folder / BASE
    if (beside / "config.json").is_file():
        return str(beside)
    named = _note(adapter).get("base") or read_json(adapter).get("base_model_name_or_path")
    if not named:
        raise ModelError(f"{adapter}: names no base model")
    if named == BESIDE:  # peft would look for it in the working directory, where there may be another
        raise ModelError(f"{beside}: is missing, the base model of the adapter in {folder}; restore it")
    return str(named)


def portable_name(base: str | None) -> str:
    """Return how an adapter's configuration names its base, so that it says nothing of this machine.

    A hub id stays. For ``smollm2`` it is the hub id of the same model, and `BESIDE` for a base that is saved with the
    adapter (None). The path of a folder is relative to the working directory, where peft looks for it.

    Examples
    --------
    >>> from causalopt.language_models.load import portable_name
    >>> [portable_name(name) for name in ("Qwen/Qwen2.5-0.5B", "smollm2", None)]
    ['Qwen/Qwen2.5-0.5B', 'HuggingFaceTB/SmolLM2-135M-Instruct', './base']
    """
    if base is None:
        return BESIDE
    if base == smollm2.NAME:
        return smollm2.HUB_ID
    return os.path.relpath(base) if Path(base).is_dir() else base


def _note(adapter: Path) -> dict[str, Any]:
    """Read what a policy noted beside its adapter; nothing for an adapter of peft alone."""
    noted = adapter.parent / "causalopt_policy.json"
    return read_json(noted) if noted.is_file() else {}


def _in_4_bits(config: Any, quantization: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what else `from_pretrained` takes for a model in 4 bits, and for one that was saved so."""
    saved_so = hasattr(config, "quantization_config")
    if quantization is None and not saved_so:
        return {}
    own = {} if saved_so or quantization is None else {"quantization_config": quantization_config(quantization)}
    return {"device_map": {"": default_device()}, **own}


def _remove_dropout(config: Any) -> None:
    """Set every dropout rate to 0: a scoring pass and a gradient pass must see the same network."""
    for key, value in config.to_dict().items():
        if ("drop" in key) and isinstance(value, float):
            setattr(config, key, 0.0)
