"""The caller's rule for the policies of a fit, applied by the trainer at every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from causalopt.backends.contracts import CheckpointRule

PREFIX = "eval_"


def logged(found: Mapping[str, float]) -> dict[str, float]:
    """Return a rule's measurements under the names that they have in a trainer's log."""
    return {f"{PREFIX}{name}": value for name, value in found.items()}


def is_over(rule: CheckpointRule, log_history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rule ends a fit with this log."""
    return rule.is_over([found for _, found in _judged(log_history)])


def best_step(rule: CheckpointRule, log_history: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the step of the policy to keep; None, with a warning, for the reference."""
    judged = _judged(log_history)
    best = rule.best([found for _, found in judged])
    return None if best is None else judged[best][0]


def _judged(log_history: Sequence[Mapping[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    return [
        (
            int(entry["step"]),
            {name.removeprefix(PREFIX): value for name, value in entry.items() if name.startswith(PREFIX)},
        )
        for entry in log_history
        if f"{PREFIX}score" in entry
    ]


class JudgeWhenSaved(TrainerCallback):  # type: ignore[misc]
    """Requests an evaluation with every checkpoint, and stops the fit if the rule ends it."""

    def __init__(self, rule: CheckpointRule) -> None:
        self._rule = rule

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_evaluate = control.should_save

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_evaluate = control.should_save

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if is_over(self._rule, state.log_history):
            control.should_training_stop = True
