"""Preference optimisation by TRL: outcomes become labels (KTO) or pairs (DPO), as they would without a causal view."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from benchmarks.confounding.methods.language_model import trainable
from benchmarks.confounding.methods.trainers import arguments, prompts_of, train
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.typing import Float64


@dataclass(frozen=True)
class KTO:
    """`trl.KTOTrainer` (Ethayarajh et al. 2024) on outcomes split at their median: above it desirable, else not."""

    beta: float = 0.1
    learning_rate: float = 1e-3
    epochs: float = 2
    batch: int = 32
    seed: int = 0

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        model, codec = trainable(reference, self.seed)
        # Fixed order is what the trainer needs; the rows are shuffled here.
        order = np.random.default_rng(self.seed).permutation(len(dataset))
        oriented = _oriented(dataset)
        rows = Dataset.from_dict(
            {
                "prompt": prompts_of(dataset, codec, order),
                "completion": [dataset.texts[i] for i in order],
                "label": (oriented > np.median(oriented))[order].tolist(),
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            settings = arguments(folder, self.batch, self.learning_rate, self.seed, num_train_epochs=self.epochs)
            trainer = KTOTrainer(
                model=model,
                args=KTOConfig(beta=self.beta, **settings),
                train_dataset=rows,
                processing_class=codec.tokenizer,
            )
            return train(trainer, reference)


@dataclass(frozen=True)
class DPO:
    """`trl.DPOTrainer` (Rafailov et al. 2023) on pairs of rows with one prompt, the larger outcome chosen."""

    beta: float = 0.1
    learning_rate: float = 1e-3
    epochs: float = 2
    batch: int = 32
    seed: int = 0

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        model, codec = trainable(reference, self.seed)
        chosen, rejected = outcome_pairs(dataset, self.seed)
        rows = Dataset.from_dict(
            {
                "prompt": prompts_of(dataset, codec, chosen),
                "chosen": [dataset.texts[i] for i in chosen],
                "rejected": [dataset.texts[i] for i in rejected],
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            settings = arguments(folder, self.batch, self.learning_rate, self.seed, num_train_epochs=self.epochs)
            trainer = DPOTrainer(
                model=model,
                args=DPOConfig(beta=self.beta, **settings),
                train_dataset=rows,
                processing_class=codec.tokenizer,
            )
            return train(trainer, reference)


def outcome_pairs(dataset: DirectOutcomeDataset, seed: int) -> tuple[list[int], list[int]]:
    """Rows chosen and rejected: each row meets the next one of its prompt in a random order, equal texts left out."""
    oriented = _oriented(dataset)
    prompts = dataset.prompts or [""] * len(dataset)
    shuffled = np.random.default_rng(seed).permutation(len(dataset)).tolist()
    by_prompt: dict[str, list[int]] = {}
    for i in shuffled:
        by_prompt.setdefault(prompts[i], []).append(i)
    met = [pair for rows in by_prompt.values() for pair in zip(rows, rows[1:] + rows[:1], strict=True)]
    pairs = [
        (a, b) if oriented[a] > oriented[b] else (b, a)
        for a, b in met
        if dataset.texts[a] != dataset.texts[b] and oriented[a] != oriented[b]
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _oriented(dataset: DirectOutcomeDataset) -> Float64:
    return dataset.outcome if dataset.direction == "maximize" else -dataset.outcome
