"""Training data: each item is a logged row with its sampled texts, each batch the scalars of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.errors import DataError
from causalopt.language_models.batching import pack
from causalopt.language_models.tokenization import Tokens
from causalopt.objectives.contract import Objective, ObjectiveInputs
from causalopt.typing import Float64

_DATA = ("log_ratio", "residual", "g", "weight", "length", "noise")
_SAMPLED = tuple(field.name for field in fields(ObjectiveInputs) if field.name not in _DATA)


@dataclass(frozen=True, eq=False)
class OnPolicyTexts:
    """Texts drawn from the policy at some step: k for each of n rows, with g and their log-probability at that step."""

    sequences: Sequence[Sequence[Tokens]]
    g: Float64
    log_prob: Float64


@dataclass(eq=False)
class TrainingRows:
    """A `causalopt.backends.contracts.PolicyProblem` in tokens: n rows with k sampled texts each.

    Attributes
    ----------
    logged, sampled:
        n sequences, and n lists of k.
    behavior_log_prob, residual, g, weight, noise:
        Shape [n]; no noise is zeros.
    sampled_g, sampled_reference_log_prob:
        Shape [n, k].
    on_policy:
        Texts drawn from a later policy, which a batch then contains in addition to the reference's.
    repeated:
        Number of rows that an epoch sees twice, see `causalopt.backends.huggingface.window.rows_to_repeat`.
    """

    logged: Sequence[Tokens]
    sampled: Sequence[Sequence[Tokens]]
    behavior_log_prob: Float64
    residual: Float64
    g: Float64
    weight: Float64
    sampled_g: Float64
    sampled_reference_log_prob: Float64
    on_policy: OnPolicyTexts | None = None
    repeated: int = 0
    noise: Float64 | None = None

    def __len__(self) -> int:
        return len(self.logged) + self.repeated

    def __getitem__(self, row: int) -> int:
        return row % len(self.logged)

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Build the batch of some rows: logged sequences first, then their sampled ones, row by row."""
        index = np.asarray(rows)
        drawn = [self.sampled]
        g, log_prob = [self.sampled_g[index]], [self.sampled_reference_log_prob[index]]
        on_policy = [np.zeros_like(g[0])]
        if self.on_policy is not None:
            drawn.append(self.on_policy.sequences)
            g.append(self.on_policy.g[index])
            log_prob.append(self.on_policy.log_prob[index])
            on_policy.append(np.ones_like(g[1]))
        sequences = [self.logged[i] for i in rows]
        sequences += [sequence for i in rows for part in drawn for sequence in part[i]]
        values = {
            "behavior_log_prob": self.behavior_log_prob[index],
            "residual": self.residual[index],
            "g": self.g[index],
            "weight": self.weight[index],
            "noise": np.zeros(len(index)) if self.noise is None else self.noise[index],
            "sampled_g": np.hstack(g).reshape(-1),
            "sampled_weight": np.repeat(self.weight[index], sum(part.shape[1] for part in g)),
            "sampled_reference_log_prob": np.hstack(log_prob).reshape(-1),
            "sampled_on_policy": np.hstack(on_policy).reshape(-1),
        }
        scalars = {name: torch.from_numpy(np.asarray(value, dtype=np.float64)) for name, value in values.items()}
        return {**pack(sequences), **scalars, "row": torch.from_numpy(index)}


def tokenize_problem(problem: PolicyProblem, objective: Objective, reference: HuggingFacePolicy) -> TrainingRows:
    """Convert a problem to rows, with the reference's float32 log-probabilities of the sampled texts, computed once.

    Raises
    ------
    DataError
        If the objective needs sampled texts and there are none.
    """
    n, k = problem.sampled_g.shape
    if objective.needs_samples and not k:
        raise DataError("the objective needs texts sampled from the reference, but the problem has none")
    if not objective.needs_samples:
        k = 0
    texts = [text for row in problem.sampled_texts for text in row[:k]]
    prompts = None if problem.prompts is None else [prompt for prompt in problem.prompts for _ in range(k)]
    drawn = reference.codec.encode(prompts, texts) if texts else []
    return TrainingRows(
        logged=reference.codec.encode(problem.prompts, problem.texts),
        sampled=[drawn[i * k : (i + 1) * k] for i in range(n)],
        behavior_log_prob=problem.behavior_log_prob,
        residual=problem.residual,
        g=problem.g,
        weight=problem.weight,
        sampled_g=problem.sampled_g[:, :k],
        sampled_reference_log_prob=reference.log_prob(prompts, texts).reshape(n, k) if texts else np.zeros((n, 0)),
        noise=problem.noise,
    )


def objective_inputs(batch: dict[str, Tensor], log_prob: Tensor) -> ObjectiveInputs:
    """Combine a batch's scalars with log P^f of its sequences, shape [n + n k], nats."""
    n = len(batch["row"])
    scored = (batch["length"] - batch["start"]).double()
    return ObjectiveInputs(
        log_ratio=log_prob[:n] - batch["behavior_log_prob"],
        residual=batch["residual"],
        g=batch["g"],
        weight=batch["weight"],
        length=scored[:n],
        sampled_log_ratio=log_prob[n:] - batch["sampled_reference_log_prob"],
        sampled_g=batch["sampled_g"],
        sampled_weight=batch["sampled_weight"],
        sampled_length=scored[n:],
        sampled_reference_log_prob=batch["sampled_reference_log_prob"],
        sampled_on_policy=batch["sampled_on_policy"],
        noise=batch["noise"],
    )


def within(window: ObjectiveInputs, part: ObjectiveInputs, first: int, first_sampled: int) -> ObjectiveInputs:
    """Insert the log-ratios of a part, with their gradient, at its position in a window."""

    def put(whole: Tensor, own: Tensor, start: int) -> Tensor:
        return torch.cat([whole[:start], own, whole[start + len(own) :]])

    return replace(
        window,
        log_ratio=put(window.log_ratio, part.log_ratio, first),
        sampled_log_ratio=put(window.sampled_log_ratio, part.sampled_log_ratio, first_sampled),
    )


def to_tables(inputs: ObjectiveInputs, behavior_log_prob: Tensor) -> tuple[Tensor, Tensor]:
    """Stack the scalars, detached, into the tables [n, 7] and [m, 6] that processes exchange."""
    data = [*(getattr(inputs, name) for name in _DATA), behavior_log_prob]
    sampled = [getattr(inputs, name) for name in _SAMPLED]
    return torch.stack(data, 1).detach(), torch.stack(sampled, 1).detach()


def from_tables(data: Tensor, sampled: Tensor) -> tuple[ObjectiveInputs, Tensor]:
    """Undo `to_tables`."""
    *columns, behavior_log_prob = data.unbind(1)
    values = dict(zip(_DATA, columns, strict=True)) | dict(zip(_SAMPLED, sampled.unbind(1), strict=True))
    return ObjectiveInputs(**values), behavior_log_prob
