"""Objectives that imitate logged texts: all of them, the best of them, or each in proportion to its reward.

Each is a weighted likelihood whose weights are determined by the pseudo-outcomes xi, without a ratio to a reference. On
raw outcomes (no outcome model, no assignment model) they are the baselines in common use; on xi they adjust for
confounding to the same extent as xi.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalopt.doors import check_number
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs
from causalopt.objectives.distance import Anchored


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
        check_number("objective.fraction", self.fraction, above=0, most=1)

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
        check_number("objective.temperature", self.temperature, above=0)

    @property
    def couples_batch(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        xi = (inputs.residual + inputs.g).double()
        # exp(xi / T) over its sum; subtracting the largest exponent cancels in the ratio.
        return _imitate(inputs, torch.exp((xi - xi.max()) / self.temperature))


@dataclass(frozen=True)
class WLL(Anchored):
    """Weighted log-likelihood: maximise mean_i xi_i * log P^f(x_i), minus the penalties of `Anchored`.

    The policy gradient without an importance ratio. Since rho >= 1 + log rho, it is a lower bound of the mean of
    rho_i * xi_i (up to a constant) for texts with xi >= 0, with the same gradient at rho = 1 (Le Roux 2017, "Tighter
    bounds lead to improved classifiers", section 3). A text with xi < 0, worse than average, is pushed away at the same
    rate however improbable it is, and nothing but the penalties bounds that: with ``forward_kl`` = lambda and all other
    penalties 0, the optimum over all distributions is proportional to q (1 + xi / lambda) where that is positive.

    Examples
    --------
    >>> import torch
    >>> from causalopt.objectives.imitation import WLL
    >>> from causalopt.objectives.contract import ObjectiveInputs, coefficients
    >>> n, none = 2, torch.zeros(0)
    >>> inputs = ObjectiveInputs(torch.zeros(n), torch.tensor([1.0, -3.0]), torch.zeros(n), torch.ones(n),
    ...                          torch.ones(n), none, none, none, none, none)
    >>> coefficients(WLL(kl=0.0, forward_kl=0.0), inputs)[1].tolist()
    [-0.5, 1.5]
    """

    @property
    def needs_samples(self) -> bool:
        return self.regularized

    @property
    def couples_batch(self) -> bool:
        return False

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        weight = inputs.weight.double()
        merit = (inputs.residual + inputs.g).double()
        return self.regularizer(inputs) - (weight * merit * inputs.log_ratio.double()).sum() / weight.sum()


def _imitate(inputs: ObjectiveInputs, merit: Tensor) -> Tensor:
    """Minus the mean log-ratio of the logged texts, weighted by exposure times merit; q adds only a constant."""
    share = inputs.weight.double() * merit
    return -(share / share.sum() * inputs.log_ratio.double()).sum()
