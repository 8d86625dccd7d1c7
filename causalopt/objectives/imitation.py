"""Baselines that imitate logged texts: all of them, the best of them, or each as far as it paid.

Each is a weighted likelihood whose weights are fixed by the pseudo-outcomes xi, so that no ratio to a reference
enters. On raw outcomes (no outcome model, no assignment model) they are the baselines as they are commonly run; on xi
they adjust for confounding as far as xi does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalopt.errors import ConfigError
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs


@dataclass(frozen=True)
class SFT(BaseObjective):
    """Supervised fine-tuning: maximise mean_i log P^f(x_i); no outcome enters.

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
    """Fine-tuning on the best texts: those whose xi is in the highest ``fraction`` of its batch.

    Attributes
    ----------
    fraction:
        Share of each batch that is imitated, in (0, 1]; ties at its limit are all kept.
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
        In standard deviations of the outcome, the unit in which a backend sees xi: large imitates all texts alike,
        small the best one of a batch.
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
        # exp(xi / T) over its sum: the largest exponent is taken off, which the sum divides out.
        return _imitate(inputs, torch.exp((xi - xi.max()) / self.temperature))


def _imitate(inputs: ObjectiveInputs, merit: Tensor) -> Tensor:
    """Minus the mean log-ratio of the logged texts, weighted by exposure times merit; q adds a constant."""
    share = inputs.weight.double() * merit
    return -(share / share.sum() * inputs.log_ratio.double()).sum()
