"""A base model in 4 bits under an adapter in float32 (QLoRA, Dettmers et al. 2023), by bitsandbytes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

import torch
from peft import PeftModel, prepare_model_for_kbit_training
from transformers import BitsAndBytesConfig, PreTrainedModel

from causalopt.errors import ConfigError
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.settings import Section, check_mapping, parse_section

_MANAGED = {
    "load_in_8bit": "its rounding depends on the other texts of a batch, and a log-ratio needs one network",
    "bnb_4bit_compute_dtype": "it is float32, so that a log-ratio to the reference starts at 0",
}


class QuantizationSettings(Section):
    """Settings of `transformers.BitsAndBytesConfig` by their names."""

    load_in_4bit: Literal[True] = True
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    bnb_4bit_use_double_quant: bool = False
    llm_int8_skip_modules: list[str] | None = None  # transformers' name for what stays whole; the head always does


def check_quantization(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return ``raw`` with its values parsed and its defaults filled in; `ConfigError` names the key at fault."""
    for key in check_mapping(raw, where):
        if key in _MANAGED:
            raise ConfigError(f"{where}.{key} cannot be set: {_MANAGED[key]}")
    settings: QuantizationSettings = parse_section(QuantizationSettings, raw, where)
    return settings.model_dump()


def require_bitsandbytes() -> None:
    """Raise `ConfigError` when bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError("backend.quantization needs bitsandbytes: pip install 'causalopt[quantization]'")


def quantization_config(settings: Mapping[str, Any]) -> BitsAndBytesConfig:
    """Return what `from_pretrained` takes; it computes in float32."""
    require_bitsandbytes()
    return BitsAndBytesConfig(**settings, bnb_4bit_compute_dtype=torch.float32)


def settle(model: PreTrainedModel) -> None:
    """Make a model that was loaded in 4 bits compute the same numbers with and without gradient."""
    prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    for module in model.modules():
        # On some CPUs bitsandbytes packs the weights anew, in place, for a bfloat16 kernel of inference alone.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantization_of(model: CausalLM) -> dict[str, Any] | None:
    """Return the settings with which a model, or the base of its adapter, was loaded; None for a whole one."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not getattr(base, "is_loaded_in_4bit", False):
        return None
    config = base.config.quantization_config
    return {name: getattr(config, name) for name in QuantizationSettings.model_fields}
