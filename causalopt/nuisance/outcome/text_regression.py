"""A language model with a one-dimensional head, fine-tuned on texts with `transformers.Trainer`."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors import SafetensorError
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    LlamaForSequenceClassification,
    PrinterCallback,
    Trainer,
)

from causalopt.errors import ConfigError, ModelError, TruncationWarning
from causalopt.language_models import scratch, smollm2
from causalopt.language_models.device import default_device
from causalopt.language_models.integrity import check_whole, refuse_own_code
from causalopt.language_models.load import find_model
from causalopt.language_models.quiet import quiet_transformers
from causalopt.language_models.settings import LORA, check_lora, check_training, training_arguments
from causalopt.messages import readable
from causalopt.typing import Float64

Pair = tuple[str | None, str]

TRAINING: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "learning_rate": 5e-4,
    "num_train_epochs": 3,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.05,
    "report_to": "none",
    "save_strategy": "no",
    "logging_strategy": "no",
}
SCRATCH_TRAINING: dict[str, Any] = {**TRAINING, "learning_rate": 5e-3, "num_train_epochs": 8}


class TextRegression:
    """Settings for fine-tuning a language model to score texts.

    Parameters
    ----------
    model, lora, training, max_length, seed:
        See `causalopt.nuisance.outcome.language_model.LanguageModelOutcome`.
    binary:
        Whether the score is a log-odds, fitted by its likelihood, rather than a mean, fitted by squared error.
    """

    def __init__(
        self,
        model: str,
        binary: bool,
        lora: Mapping[str, Any] | Literal[False] | None,
        training: Mapping[str, Any] | None,
        max_length: int,
        seed: int,
    ) -> None:
        if max_length < 1:
            raise ConfigError(f"outcome_model.max_length must be at least 1, not {max_length}")
        self.model = model
        self.binary = binary
        self.lora = None if lora is False else {**LORA, **check_lora(lora or {}, "outcome_model.lora")}
        own = SCRATCH_TRAINING if model == scratch.NAME else TRAINING
        self.training = {**own, **check_training(training or {}, "outcome_model.training")}
        self.max_length = max_length
        self.seed = seed
        if model != scratch.NAME:
            find_model(model)

    def fit(self, pairs: Sequence[Pair], offset: Float64, target: Float64, weight: Float64) -> TextReader:
        """Fine-tune so that ``offset + score`` predicts ``target``; the score starts at zero.

        Parameters
        ----------
        pairs:
            Prompt (or None) and text of each row, n of them.
        offset, target, weight:
            Shape [n].
        """
        model, tokenizer = self._start(pairs)
        reader = TextReader(model, tokenizer, self.max_length)
        share = weight / weight.mean()
        rows = [
            {"input_ids": ids, "offset": float(o), "target": float(t), "weight": float(a)}
            for ids, o, t, a in zip(reader.encode(pairs), offset, target, share, strict=True)
        ]
        with tempfile.TemporaryDirectory() as output, quiet_transformers():
            args = training_arguments({}, self.training, Path(output), self.seed)
            trainer = _RegressionTrainer(
                model=model, args=args, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)
            )
            trainer.binary = self.binary
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        model.eval()
        return reader

    def _start(self, pairs: Sequence[Pair]) -> tuple[Any, Any]:
        if self.model == scratch.NAME:
            tokenizer = scratch.train_tokenizer(
                [part for prompt, text in pairs for part in (prompt and readable(prompt), text) if part]
            )
            config = scratch.make_model(tokenizer, self.max_length + 2, self.seed).config
            config.num_labels = 1
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                model: Any = LlamaForSequenceClassification(config)
        else:
            base, tokenizer = _pretrained(self.model)
            if self.lora is None:
                model = copy.deepcopy(base).requires_grad_(True)
            else:
                # The models of all folds share the frozen weights; each has its own adapter and head.
                shared = {id(parameter): parameter for parameter in base.base_model.parameters()}
                settings = {"lora_alpha": 2 * self.lora["r"], **self.lora}
                with torch.random.fork_rng(devices=[]), quiet_transformers():
                    torch.manual_seed(self.seed)
                    config = LoraConfig(task_type=TaskType.SEQ_CLS, **settings)
                    model = get_peft_model(copy.deepcopy(base, shared), config)
        for name, parameter in model.named_parameters():
            if "score" in name and parameter.requires_grad:
                torch.nn.init.zeros_(parameter)
        return model.to(default_device()), tokenizer


class TextReader:
    """A fine-tuned scorer; each distinct text is read once."""

    def __init__(self, model: Any, tokenizer: Any, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._known: dict[Pair, float] = {}

    def encode(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Tokens of prompt and text, at most ``max_length``; of longer sequences the end is kept.

        Warns
        -----
        TruncationWarning
            With the number of texts that were cut.
        """
        strings = [text if prompt is None else f"{readable(prompt)}\n{text}" for prompt, text in pairs]
        with quiet_transformers():
            encoded: list[list[int]] = self.tokenizer(strings, split_special_tokens=True)["input_ids"]
        long = len({strings[i] for i, ids in enumerate(encoded) if len(ids) > self.max_length})
        if long:
            warnings.warn(
                f"{long} texts are longer than outcome_model.max_length {self.max_length} and were cut to their ends",
                TruncationWarning,
                stacklevel=2,
            )
        nothing = [self.tokenizer.eos_token_id]
        return [ids[-self.max_length :] or nothing for ids in encoded]

    @torch.inference_mode()
    def predict(self, pairs: Sequence[Pair]) -> Float64:
        """Scores, shape [n]."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        encoded = self.encode(new) if new else []
        order = sorted(range(len(new)), key=lambda i: -len(encoded[i]))
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            padded = self.tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
            score = self.model(**padded.to(self.model.device)).logits[:, 0].double().cpu().numpy()
            if not np.isfinite(score).all():
                raise ModelError("the language model's score is not finite: lower outcome_model.training.learning_rate")
            self._known.update({new[i]: float(value) for i, value in zip(batch, score, strict=True)})
        return np.array([self._known[pair] for pair in pairs], dtype=np.float64)


class _RegressionTrainer(Trainer):  # type: ignore[misc]
    binary = False

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> torch.Tensor:
        offset, target, weight = (inputs.pop(name).float() for name in ("offset", "target", "weight"))
        score = model(**inputs).logits[:, 0].float() + offset
        if self.binary:
            return functional.binary_cross_entropy_with_logits(score, target, weight)
        loss: torch.Tensor = (weight * (target - score) ** 2).mean()
        return loss


@lru_cache(maxsize=1)
def _pretrained(name: str) -> tuple[Any, Any]:
    """Load a frozen model with a one-dimensional head, and its tokenizer, which pads on the right."""
    source = str(smollm2.smollm2_folder()) if name == smollm2.NAME else name
    refuse_own_code(Path(source))
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            tokenizer.padding_side = "right"
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            model, info = AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=1, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            )
        check_whole(name, info, new_head="score")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"model {name!r} cannot be loaded: {str(error).strip().splitlines()[0]}") from error
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.requires_grad_(False), tokenizer
