"""Which policy of a fit is kept: the best by held-out rows, within a limit on the KL, never by the training loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from causalopt.backends.contracts import Selection
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.errors import CausalOptWarning, TruncationWarning

DRAWS = 256
"""Texts behind an estimate of the KL."""


@dataclass(frozen=True)
class Chooser:
    """Scores a policy whenever it is saved, says when a fit is over, and which of its policies is kept.

    Attributes
    ----------
    reference:
        Where the fit starts; it is among those to choose from.
    prompts:
        Prompts of the training rows, to draw texts for.
    selection:
        The score; without one the furthest policy within ``target_kl`` is kept.
    target_kl:
        Largest KL to the reference, nats, measured on texts drawn from the policy; None sets no limit.
    seed:
        Seed of the texts that are drawn.
    """

    reference: HuggingFacePolicy
    prompts: Sequence[str] | None
    selection: Selection | None
    target_kl: float | None
    seed: int

    def score(self, policy: HuggingFacePolicy, step: int) -> dict[str, float]:
        """Return ``kl`` and ``score``, which is minus infinity for a policy beyond the limit."""
        kl = self._kl(policy)
        if self.target_kl is not None and kl > self.target_kl:
            return {"kl": kl, "score": -math.inf}
        return {"kl": kl, "score": float(step) if self.selection is None else float(self.selection.score(policy))}

    def is_over(self, log_history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the scores so far, as a trainer's state keeps them, end the fit."""
        entries = [entry for entry in log_history if "eval_score" in entry]
        if not entries:
            return False
        if self.target_kl is not None and entries[-1]["eval_kl"] > self.target_kl:
            return True
        if self.selection is None:
            return False
        scores = [self._start, *(entry["eval_score"] for entry in entries)]
        return len(scores) - 1 - int(np.argmax(scores)) >= self.selection.patience

    def best_step(self, state: TrainerState) -> int | None:
        """Return the step of the policy to keep; None, with a warning, for the reference."""
        found = state.best_metric
        if found is not None and found > self._start:
            return int(state.best_global_step)
        if self.target_kl is not None and (found is None or found == -math.inf):
            reason = (
                f"already the first policy that was saved is beyond backend.target_kl = {self.target_kl:g} nats: lower "
                "training.save_steps or training.learning_rate"
            )
        else:
            reason = f"none scores better on the held-out rows ({found} at best) than the reference does"
        warnings.warn(f"the policy is the reference itself: {reason}", CausalOptWarning, stacklevel=4)
        return None

    @cached_property
    def _start(self) -> float:
        """Score of the reference."""
        return -math.inf if self.selection is None else float(self.selection.score(self.reference))

    def _kl(self, policy: HuggingFacePolicy) -> float:
        prompts = None
        if self.prompts is not None:
            rng = np.random.default_rng(self.seed)
            prompts = [self.prompts[i] for i in rng.integers(len(self.prompts), size=DRAWS)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the draws that are kept say it
            texts = policy.sample(prompts, DRAWS, self.seed)
        log_ratio = policy.log_prob(prompts, texts) - self.reference.log_prob(prompts, texts)
        # Schulman's k3: exp(-r) - 1 has mean zero and takes away most of r's variance where the two are near.
        return float(np.mean(log_ratio + np.expm1(-log_ratio)))


class ScoreWhenSaved(TrainerCallback):  # type: ignore[misc]
    """Asks for a score with every checkpoint, and stops a fit that is over."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_evaluate = control.should_save

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_evaluate = control.should_save

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._chooser.is_over(state.log_history):
            control.should_training_stop = True
