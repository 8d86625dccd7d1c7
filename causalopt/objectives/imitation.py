"""Baselines that imitate logged texts: all of them, the best of them, or each in proportion to its reward.

Each is a weighted likelihood whose weights are determined by the pseudo-outcomes xi, without a ratio to a reference. On
raw outcomes (no outcome model, no assignment model) they are the baselines in common use; on xi they adjust for
confounding to the same extent as xi.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalopt.errors import ConfigError
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs


@dataclass(frozen=True)
class SFT(BaseObjective):
    """Supervised fine-tuning: maximise mean_i log P^f(x_i); outcomes are not used.

    Examples
    --------
    >>> import torch
    >>> from causalopt.objectives.imitation import SFT
    >>> from causalopt.objectives.contract import ObjectiveInputs, coefficients
    >>> n, none = 2, torch.zeros(0)
    >>> inputs = ObjectiveInputs(torch.zeros(n), torch.tensor([1.0, -1.0]), torch.zeros(n), torch.ones(n),
    ...                          torch.ones(n), none, none, none, none, none)
    >>> coefficients(SFT(), inputs)[1].tolist()
    [-0.5, -0.5]
    """

    @property
    def couples_batch(self) -> bool:
        return False

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return _imitate(inputs, torch.ones_like(inputs.weight.double()))


@dataclass(frozen=True)
class SFTTop(BaseObjective):
    """Fine-tuning on the best texts: those whose xi is in the highest ``fraction`` of their batch.

    Attributes
    ----------
    fraction:
        Share of each batch that is imitated, in (0, 1]; all ties at the limit are kept.
    """

    fraction: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"objective.fraction must be in (0, 1], not {self.fraction}")

    @property
    def couples_batch(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        xi = (inputs.residual + inputs.g).double()
        limit = torch.quantile(xi, 1 - self.fraction, interpolation="lower")
        return _imitate(inputs, (xi >= limit).double())


@dataclass(frozen=True)
class RWR(BaseObjective):
    """Reward-weighted regression: maximise mean log P^f(x_i), weighted in proportion to exp(xi_i / temperature).

    Peters and Schaal (2007), "Reinforcement learning by reward-weighted regression for operational space control"; the
    weights are normalised over the batch.

    Attributes
    ----------
    temperature:
        In standard deviations of the outcome, the unit of xi in a backend: a large value imitates all texts alike, a
        small value the best one of a batch.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"objective.temperature must be positive, not {self.temperature}")

    @property
    def couples_batch(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        xi = (inputs.residual + inputs.g).double()
        # exp(xi / T) over its sum; subtracting the largest exponent cancels in the ratio.
        return _imitate(inputs, torch.exp((xi - xi.max()) / self.temperature))


def _imitate(inputs: ObjectiveInputs, merit: Tensor) -> Tensor:
    """Minus the mean log-ratio of the logged texts, weighted by exposure times merit; q adds only a constant."""
    share = inputs.weight.double() * merit
    return -(share / share.sum() * inputs.log_ratio.double()).sum()
