"""What training reads: each item is a logged row with its sampled texts, each batch the scalars of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from causalopt.backends.huggingface.scoring import pack
from causalopt.backends.huggingface.tokenization import Tokens
from causalopt.objective import ObjectiveInputs
from causalopt.typing import Float64

_DATA = ("log_ratio", "residual", "g", "weight", "length")
_SAMPLED = tuple(field.name for field in fields(ObjectiveInputs) if field.name not in _DATA)


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """A `causalopt.backends.contracts.PolicyProblem` in tokens: n rows with k sampled texts each.

    Attributes
    ----------
    logged, sampled:
        n sequences, and n lists of k.
    behavior_log_prob, residual, g, weight:
        Shape [n].
    sampled_g, sampled_reference_log_prob:
        Shape [n, k].
    """

    logged: Sequence[Tokens]
    sampled: Sequence[Sequence[Tokens]]
    behavior_log_prob: Float64
    residual: Float64
    g: Float64
    weight: Float64
    sampled_g: Float64
    sampled_reference_log_prob: Float64

    def __len__(self) -> int:
        return len(self.logged)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Build the batch of some rows: logged sequences first, then their sampled ones, row by row."""
        index = np.asarray(rows)
        sequences = [self.logged[i] for i in rows] + [sequence for i in rows for sequence in self.sampled[i]]
        k = self.sampled_g.shape[1]
        values = {
            "behavior_log_prob": self.behavior_log_prob[index],
            "residual": self.residual[index],
            "g": self.g[index],
            "weight": self.weight[index],
            "sampled_g": self.sampled_g[index].reshape(-1),
            "sampled_weight": np.repeat(self.weight[index], k),
            "sampled_reference_log_prob": self.sampled_reference_log_prob[index].reshape(-1),
        }
        scalars = {name: torch.from_numpy(np.asarray(value, dtype=np.float64)) for name, value in values.items()}
        return {**pack(sequences), **scalars, "row": torch.from_numpy(index)}


def objective_inputs(batch: dict[str, Tensor], log_prob: Tensor) -> ObjectiveInputs:
    """Join a batch's scalars with log P^f of its sequences, shape [n + n k], nats."""
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
    )


def to_tables(inputs: ObjectiveInputs, behavior_log_prob: Tensor) -> tuple[Tensor, Tensor]:
    """Stack the scalars, detached, into [n, 6] and [m, 5]: what processes exchange."""
    data = [*(getattr(inputs, name) for name in _DATA), behavior_log_prob]
    sampled = [getattr(inputs, name) for name in _SAMPLED]
    return torch.stack(data, 1).detach(), torch.stack(sampled, 1).detach()


def from_tables(data: Tensor, sampled: Tensor) -> tuple[ObjectiveInputs, Tensor]:
    """Undo `to_tables`."""
    *columns, behavior_log_prob = data.unbind(1)
    values = dict(zip(_DATA, columns, strict=True)) | dict(zip(_SAMPLED, sampled.unbind(1), strict=True))
    return ObjectiveInputs(**values), behavior_log_prob
