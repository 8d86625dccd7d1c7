"""On-policy reinforcement against g, the RLHF baseline of the paper: a reward model, then GRPO by TRL.

With nuisances that see the readers the reward is adjusted for confounding; with a model of the text alone it is RLHF as
it is commonly done.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from benchmarks.confounding.estimation import pseudo_outcomes
from benchmarks.confounding.methods.language_model import trainable
from benchmarks.confounding.methods.trainers import LONGEST, arguments, prompts_of, train
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset


@dataclass(frozen=True)
class GRPO:
    """`trl.GRPOTrainer` (Shao et al. 2024); the reward is g, in standard deviations of the outcome.

    Attributes
    ----------
    outcome_model, assignment_model:
        Of the pseudo-outcomes whose dose response is the reward.
    beta:
        Coefficient of the KL to the reference, reward units per nat.
    steps, batch, generations:
        Optimiser steps, drawn texts of each, and texts that share a prompt.
    """

    outcome_model: str = "ridge-lightgbm"
    assignment_model: str = "gaussian"
    beta: float = 0.1
    learning_rate: float = 1e-3
    steps: int = 25
    batch: int = 64
    generations: int = 32
    seed: int = 0

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        pseudo = pseudo_outcomes(dataset, self.outcome_model, self.assignment_model)
        sign = 1.0 if dataset.direction == "maximize" else -1.0
        scale, worst = float(dataset.outcome.std()), float((sign * pseudo.g).min())
        model, codec = trainable(reference, self.seed)
        start = codec.tokenizer.bos_token

        def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
            asked = None if dataset.prompts is None else [prompt.removeprefix(start) for prompt in prompts]
            g = sign * pseudo.dose_response([text or " " for text in completions], asked)
            # An empty completion is no text, and gets the worst reward of any that was logged.
            return [float(value if text else worst) / scale for value, text in zip(g, completions, strict=True)]

        rows = Dataset.from_dict({"prompt": prompts_of(dataset, codec, range(len(dataset)))})
        with tempfile.TemporaryDirectory() as folder:
            settings = arguments(folder, self.batch, self.learning_rate, self.seed, max_steps=self.steps)
            config = GRPOConfig(
                beta=self.beta,
                num_generations=self.generations,
                max_completion_length=LONGEST,
                temperature=1.0,
                **settings,
            )
            trainer = GRPOTrainer(
                model=model, reward_funcs=reward, args=config, train_dataset=rows, processing_class=codec.tokenizer
            )
            return train(trainer, reference)
