"""Settings by the names of `transformers.TrainingArguments` and `peft.LoraConfig`, checked before a model is loaded."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from causalopt.errors import ConfigError, one_line
from causalopt.language_models.device import default_device
from causalopt.signatures import LARGEST_COUNT, LARGEST_NUMBER, shown
from causalopt.suggestion import did_you_mean

Dtype = Literal["auto", "float32", "bfloat16"]

# What the backend decides itself, and what to set in its place.
_MANAGED_TRAINING = {
    "output_dir": "the run directory holds the checkpoints",
    "seed": "set seed",
    "data_seed": "set seed",
    "bf16": "set backend.dtype",
    "fp16": "set backend.dtype",
    "eval_strategy": "a policy on the way is scored whenever it is saved; set save_strategy and save_steps",
    "metric_for_best_model": "set choose, or target_kl",
    "load_best_model_at_end": "set choose, or target_kl",
    "remove_unused_columns": "the batch is built by the backend",
    "resume_from_checkpoint": "a fit resumes from its directory by itself",
    "disable_tqdm": "progress is shown by causalopt",
    "label_smoothing_factor": "the objective is the loss",
    "neftune_noise_alpha": "a log-ratio needs the network that is scored",
    "use_liger_kernel": "the head is computed by the backend",
    "use_cache": "set by the backend",
    "use_cpu": "set the environment variable ACCELERATE_USE_CPU=true",
    "auto_find_batch_size": "set training.per_device_train_batch_size",
}
# What would divide by zero, draw no batch or walk uphill in the middle of a fit.
_NOT_NEGATIVE = (
    "learning_rate", "num_train_epochs", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
    "warmup_steps", "warmup_ratio", "save_steps", "logging_steps", "dataloader_num_workers",
)  # fmt: skip
_POSITIVE = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "save_total_limit",
)  # fmt: skip
_MANAGED_LORA = {
    "task_type": "it is always a causal language model",
    "inference_mode": "set by the backend",
    "lora_dropout": "a log-ratio needs the network that is scored, so there is no dropout",
}

# For an adapter, for an adapter on the tiny model, and for that model from scratch; any of them may be overridden.
ADAPTER_TRAINING: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "learning_rate": 5e-4,
    "num_train_epochs": 3,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.05,
    "logging_steps": 10,
    "save_steps": 0.2,
    "save_total_limit": 2,
    "report_to": "none",
}
TINY_TRAINING: dict[str, Any] = {
    **ADAPTER_TRAINING,
    "per_device_train_batch_size": 64,
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
}
SCRATCH_TRAINING: dict[str, Any] = {
    **ADAPTER_TRAINING,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-2,
    "num_train_epochs": 6,
    "lr_scheduler_type": "cosine",
}
FEWEST_UPDATES = 100
"""Updates of a policy's fit by default: on few rows it has more epochs than those above, unless their number is set.

On 300 rows two epochs in batches of 64 are 10 updates, which end at 0.03 nats; 100 end at 0.4 to 1.5 nats with four to
six times the gain, and 200 gain 6% more (docs/backend.md; with penalties of 0.1 and 0.3). How much of that way is gone
is chosen on rows set apart.
"""
MOST_EPOCHS = 20
"""Largest number of epochs for the sake of updates: 100 epochs over 56 rows ended at 7 nats."""
CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")
    if any(field.name == name for field in dataclasses.fields(TrainingArguments))
)
"""What the installed transformers calls recomputing activations in the backward pass."""
LORA: dict[str, Any] = {"r": 8, "target_modules": "all-linear"}


class Section(BaseModel):
    """A group of settings; a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplingSettings(Section):
    """How texts are drawn; always from the policy itself (temperature 1, no top-k, no top-p)."""

    engine: Literal["transformers", "vllm"] = "transformers"
    batch_size: int | None = Field(
        None, ge=1, description="texts drawn at one time, which changes none; by default as many as memory should hold"
    )
    max_new_tokens: int = Field(128, ge=1, description="tokens of a text with its end; longer draws are drawn again")
    rounds: int = Field(4, ge=1, description="draws of one text before it is kept cut off, with a warning")


class ReferenceSettings(Section):
    """How the reference policy is made from the logged texts."""

    tune: bool = True
    training: dict[str, Any] = {}


class RefreshSettings(Section):
    """Whether the g term gets new texts from the policy as it is trained; the data term stays as it was logged."""

    every_steps: int | None = Field(None, ge=1, description="optimiser steps between two draws; null for none")
    per_row: int = Field(1, ge=1, description="texts drawn for each row")


def parse_section(cls: type[Section], raw: Mapping[str, Any] | None, where: str) -> Any:
    """Validate ``raw`` as ``cls``; `ConfigError` names the key and the one that was meant."""
    try:
        return cls.model_validate(dict(check_mapping(raw, where)))
    except ValidationError as error:
        item = error.errors()[0]
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            raise ConfigError(_no_key(where, key, list(cls.model_fields))) from None
        raise ConfigError(f"{where}.{key}: {item['msg']}, not {shown(item['input'])}") from None


def check_mapping(raw: Any, where: str) -> Mapping[str, Any]:
    """Return ``raw``, or no settings if it is None; `ConfigError` unless it is a mapping with strings as keys."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where} must be a mapping of settings, not {shown(raw)}")
    for key in raw:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: {shown(key)} is not the name of a setting")
    return raw


def check_training(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return ``raw`` with its values parsed as the fields of `transformers.TrainingArguments` that it names."""
    parsed = _check(raw, where, TrainingArguments, _MANAGED_TRAINING)
    for key, value in parsed.items():
        least = 0 if key in _NOT_NEGATIVE else 1 if key in _POSITIVE else None
        if least is not None and isinstance(value, int | float) and value < least:
            raise ConfigError(f"{where}.{key} must be at least {least}, not {shown(value)}")
        most = LARGEST_COUNT if isinstance(value, int) else LARGEST_NUMBER
        most = 1 if key in ("adam_beta1", "adam_beta2") else most
        if isinstance(value, int | float) and abs(value) >= most:
            raise ConfigError(f"{where}.{key} must be below {most:.10g}, not {shown(value)}")
    return parsed


def check_lora(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return ``raw`` with its values parsed as the fields of `peft.LoraConfig` that it names."""
    parsed = _check(raw, where, LoraConfig, _MANAGED_LORA)
    if "r" in parsed and not parsed["r"] >= 1:
        raise ConfigError(f"{where}.r must be at least 1, not {shown(parsed['r'])}")
    return parsed


def training_arguments(
    defaults: Mapping[str, Any], training: Mapping[str, Any], output: Path, seed: int
) -> TrainingArguments:
    """Return what a Trainer takes; `ConfigError` when the settings contradict each other.

    Precision is none of it: a float32 scoring pass and a bfloat16 gradient pass go through one model, so the trainer
    casts the latter itself.
    """
    own = {
        "output_dir": str(output),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": default_device().type == "cpu",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "logging_nan_inf_filter": False,
    }
    by_default = {"ddp_find_unused_parameters": False, "dataloader_pin_memory": torch.cuda.is_available()}
    try:
        args = TrainingArguments(**{**by_default, **training, **defaults, **own})
    except Exception as error:  # transformers looks at few of its settings before it uses them
        raise ConfigError(f"backend.training: {one_line(error)}") from error
    reporters = [args.report_to] if isinstance(args.report_to, str) else args.report_to
    for reporter in reporters:
        if reporter not in (*INTEGRATION_TO_CALLBACK, "none", "all"):
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ConfigError(
                f"backend.training.report_to: {shown(reporter)} is not known; there are: none, all, {known}"
            )
    args.mixed_precision = "no"  # also where `accelerate launch` says otherwise
    args._n_gpu = min(1, args.n_gpu)  # several GPUs are used through torchrun, never by replicating the model
    return args


def _check(raw: Mapping[str, Any], where: str, cls: type[Any], managed: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    parsed = {}
    for key, value in check_mapping(raw, where).items():
        if key in managed:
            raise ConfigError(f"{where}.{key} cannot be set: {managed[key]}")
        if key not in fields:
            raise ConfigError(_no_key(where, key, [name for name in fields if name not in managed]))
        plain = _plain_types(hints[key])
        if plain is None or key == "fsdp":  # which says that it is a string, and takes true
            parsed[key] = value
            continue
        try:
            parsed[key] = TypeAdapter(plain).validate_python(value)  # YAML reads 1e-3 as a string; this does not
        except ValidationError as error:
            raise ConfigError(f"{where}.{key}: {error.errors()[0]['msg']}, not {shown(value)}") from None
        if isinstance(value, bool) and bool not in (plain, *typing.get_args(plain)):
            raise ConfigError(f"{where}.{key}: must be a number or a string, not {value!r}")
        if isinstance(parsed[key], float) and not math.isfinite(parsed[key]):
            raise ConfigError(f"{where}.{key} must be finite, not {value!r}")
    return parsed


def _plain_types(hint: Any) -> Any:
    """Return the hint when it is of numbers, strings and booleans alone; richer ones are left to their library."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return hint if all(part in (int, float, bool, str, type(None)) for part in parts) else None


def _no_key(where: str, key: str, known: list[str]) -> str:
    return f"{where} has no setting {key!r}{did_you_mean(key, known)}"
