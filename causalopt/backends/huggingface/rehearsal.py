"""A fit's settings, tried on models without weights or of a few, so that nothing fails after hours of other work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer

from causalopt.backends.huggingface.sharding import check_sharding
from causalopt.errors import CausalOptError, ConfigError, ModelError, one_line
from causalopt.language_models import scratch
from causalopt.language_models.load import trainable_twin
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.settings import training_arguments
from causalopt.language_models.smollm2 import NAME, smollm2_folder


def rehearse_training(training: Mapping[str, Any], where: str) -> None:
    """Make a trainer with all that it makes at the start of a fit: reporters, DeepSpeed, optimiser, schedule, loader.

    Parameters
    ----------
    training:
        Settings of `transformers.TrainingArguments`.
    where:
        Their key, for messages.

    Raises
    ------
    ConfigError
        If a setting is malformed, contradicts another, or needs a package that is not installed.

    Examples
    --------
    >>> from causalopt.backends.huggingface.rehearsal import rehearse_training
    >>> rehearse_training({"optim": "adamw_torch", "report_to": "none"}, "backend.training")
    """
    with TemporaryDirectory() as folder:
        args = training_arguments({"save_strategy": "no"}, training, Path(folder), 0)
        tokenizer = scratch.train_tokenizer(["a"])
        try:
            with quiet_transformers():
                trainer = Trainer(scratch.make_model(tokenizer, 16, 0), args, train_dataset=[{"input_ids": [0]}] * 2)
                trainer.create_optimizer_and_scheduler(num_training_steps=10)
                trainer.get_train_dataloader()
        except (CausalOptError, MemoryError):
            raise
        except Exception as error:
            raise ConfigError(f"{where}: {one_line(error)}") from error
        if trainer.is_deepspeed_enabled:
            check_sharding(None, trainer.accelerator.state.deepspeed_plugin.zero_stage)
        if trainer.is_fsdp_enabled:
            check_sharding(trainer.accelerator.state.fsdp_plugin.fsdp_version, None)


def rehearse_adapter(model: str | CausalLM, lora: Mapping[str, Any]) -> None:
    """Put an adapter on the modules of a model; those of a named one are made from its configuration, without weights.

    Raises
    ------
    ConfigError
        If the settings do not suit the model.
    """
    trainable_twin(_without_weights(model) if isinstance(model, str) else model, lora, 0)


def _without_weights(name: str) -> CausalLM:
    if name == scratch.NAME:
        return scratch.make_model(scratch.train_tokenizer(["a"]), 16, 0)
    source = str(smollm2_folder()) if name == NAME else name
    try:
        with quiet_transformers(), torch.device("meta"):
            made: CausalLM = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(source, trust_remote_code=False)
            )
    except Exception as error:  # a configuration can be wrong in more ways than there are kinds of errors
        raise ModelError(f"model {name!r} cannot be made from its configuration: {one_line(error)}") from error
    return made
