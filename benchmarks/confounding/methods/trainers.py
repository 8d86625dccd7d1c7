"""What every trainer of TRL is given: the reference's own marks around a text, and nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PrinterCallback, Trainer

from benchmarks.confounding.methods.language_model import as_policy
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.language_models.tokenization import TextCodec

LONGEST = 64
"""Tokens of a completion that is drawn."""


def prompts_of(dataset: DirectOutcomeDataset, codec: TextCodec, rows: Sequence[int]) -> list[str]:
    """Return the start mark with the prompt, if there is one: TRL adds the end mark, and no start."""
    start = codec.tokenizer.bos_token
    return [start + (dataset.prompts[i] if dataset.prompts is not None else "") for i in rows]


def arguments(folder: str, batch: int, learning_rate: float, seed: int, **others: Any) -> dict[str, Any]:
    """Settings that all three trainers share."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "learning_rate": learning_rate,
        "seed": seed,
        "data_seed": seed,
        "warmup_steps": 0.05,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
        "gradient_checkpointing": False,
        "bf16": False,
        **others,
    }


def train(trainer: Trainer, reference: Policy) -> Policy:
    """Train without a word, and return the model as a policy."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return as_policy(trainer.model, reference)
