"""The gradient of one optimiser step, as a trainer sees it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.backends.huggingface.batches import tokenize_problem
from causalopt.backends.huggingface.metrics import policy_metrics
from causalopt.backends.huggingface.trainer import ObjectiveTrainer
from causalopt.language_models.load import trainable_twin
from causalopt.language_models.scoring import CausalLM, SequenceLogProb
from causalopt.language_models.settings import training_arguments
from causalopt.objectives.contract import Objective
from causalopt.objectives.paper import CPO, DRCPO

OBJECTIVES: dict[str, Objective] = {
    "dr_cpo": DRCPO(kl=0.1),
    "truncated": DRCPO(truncation_quantile=0.8, clip=0.5, per_token=True, entropy=0.02),
    "cpo, not coupled": CPO(self_normalize=False, kl=0.1),
    "cpo, no samples": CPO(kl=0.0, forward_kl=0.0),
    "pessimistic": DRCPO(kl=0.1, pessimism=2.0),
}


def moved_policy(reference: HuggingFacePolicy) -> CausalLM:
    """A policy some way off the reference, so that ratios are not all 1."""
    model = trainable_twin(reference.model, {"r": 4, "target_modules": "all-linear"}, seed=0)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class _Catch(TrainerCallback):
    def __init__(self) -> None:
        self.gradient: dict[str, torch.Tensor] = {}
        self.loss: float | None = None
        self.share_held = 1.0

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, *, model: torch.nn.Module, **kwargs: Any
    ) -> None:
        self.gradient = {
            name.removeprefix("module.").removeprefix("causal_lm."): _whole(parameter.grad).clone()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        held = [p.to_local() if isinstance(p, DTensor) else p for p in model.parameters()]
        self.share_held = sum(p.numel() for p in held) / sum(p.numel() for p in model.parameters())

    def on_log(self, args: Any, state: Any, control: Any, *, logs: dict[str, float], **kwargs: Any) -> None:
        self.loss = logs.get("loss", self.loss)


class _Trainer(ObjectiveTrainer):
    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        window, count = super().get_batch_samples(*args, **kwargs)
        self.seen = [int(row) for batch in window for row in batch["row"]]
        return window, count


def step_gradient(
    reference: HuggingFacePolicy,
    problem: PolicyProblem,
    objective: Objective,
    output: Path,
    *,
    micro_batch: int,
    accumulation: int,
    bf16: bool = False,
    score_first: bool = False,
    all_weights: bool = False,
    more_training: dict[str, Any] | None = None,
) -> dict[str, Any]:
    training = {
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": 1,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "report_to": "none",
        **(more_training or {}),
    }
    model = trainable_twin(reference.model, None, seed=0) if all_weights else moved_policy(reference)
    metrics: list[dict[str, Any]] = []
    trainer = _Trainer(
        model=SequenceLogProb(model),
        args=training_arguments({"save_strategy": "no"}, training, output, seed=0),
        rows=tokenize_problem(problem, objective, reference),
        objective=objective,
        describe=policy_metrics,
        bf16=bf16,
        score_first=score_first,
        starts_at_reference=False,
        report=(lambda event, values: metrics.append(dict(values)),),
    )
    catch = _Catch()
    trainer.add_callback(catch)
    trainer.train()
    result = {"gradient": catch.gradient, "loss": catch.loss, "rows": trainer.seen, "metrics": metrics}
    return {**result, "share_held": catch.share_held, "sharded": type(trainer.model).__name__}


def flat(gradient: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient[name].double().flatten() for name in sorted(gradient)])


def relative_error(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> float:
    assert sorted(got) == sorted(want)
    assert float(flat(want).norm()) > 0
    return float((flat(got) - flat(want)).norm() / flat(want).norm())


def save_problem(problem: PolicyProblem, path: Path) -> None:
    values = {field.name: getattr(problem, field.name) for field in fields(problem) if field.name != "dose_response"}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
    path.write_text(json.dumps(plain))


def load_problem(path: Path) -> PolicyProblem:
    values = json.loads(path.read_text())
    arrays = {"behavior_log_prob", "residual", "g", "weight", "sampled_g"}
    return PolicyProblem(**{name: np.array(v) if name in arrays else v for name, v in values.items()})
