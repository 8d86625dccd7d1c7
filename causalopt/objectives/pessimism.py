"""Pessimism: subtract standard errors of the estimated value, with the variance of the whole training set.

Counterfactual risk minimisation (Swaminathan and Joachims 2015, "Batch learning from logged bandit feedback through
counterfactual risk minimization", eq. 10) maximises ``V - lambda * se``. The standard error is that of means of
``u_i = rho_i * reward_i``, and the root of a variance is no mean over rows, so that a window of it is noise. It has a
majoriser that is one (section 5.2 there): with the mean ``u_0`` and the standard error ``se_0`` at the start of a pass,

    se  <=  (se_0 + sum over means of [ mean_i (u_i - u_0)^2 / n ] / se_0) / 2,

since ``sqrt(a) <= (s + a / s) / 2`` for every s > 0, and a variance is the smallest mean squared deviation. Both sides
and their derivatives are equal at the start of the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from causalopt.objectives.contract import BaseObjective, Objective, ObjectiveInputs

Summands = Sequence[tuple[Tensor, Tensor]]
"""For each mean in an estimated value, its summands and their weights."""


@dataclass(frozen=True)
class Moments:
    """Moments of an estimated value on a whole training set.

    Attributes
    ----------
    means, rows:
        Mean of the summands of each mean, reward units, and its effective number of rows (Kish), for the exposures.
    se:
        Standard error of their sum, reward units.
    """

    means: tuple[float, ...]
    rows: tuple[float, ...]
    se: float


def moments(summands: Summands) -> Moments:
    """Return the moments of an estimated value, from all of its summands.

    Examples
    --------
    >>> import torch
    >>> from causalopt.objectives.pessimism import moments
    >>> found = moments([(torch.tensor([0.0, 2.0, 0.0, 2.0]), torch.ones(4))])
    >>> found.means, found.rows, found.se
    ((1.0,), (4.0,), 0.5)
    """
    means = tuple(float((weight * value).sum() / weight.sum()) for value, weight in summands)
    rows = tuple(float(weight.sum() ** 2 / (weight**2).sum()) for _, weight in summands)
    return Moments(means, rows, float(_variance(summands, means, rows)) ** 0.5)


@dataclass(frozen=True)
class Pessimistic(BaseObjective):
    """An objective minus a number of standard errors, majorised at given moments.

    Attributes
    ----------
    objective, summands:
        The objective, and its summands in a window.
    at:
        Moments of the whole training set at the start of the pass.
    standard_errors:
        How many standard errors are subtracted.
    """

    objective: Objective
    summands: Callable[[ObjectiveInputs], Summands]
    at: Moments
    standard_errors: float

    @property
    def needs_samples(self) -> bool:
        return self.objective.needs_samples

    @property
    def couples_batch(self) -> bool:
        return self.objective.couples_batch

    @property
    def takes_on_policy_texts(self) -> bool:
        return self.objective.takes_on_policy_texts

    def clip_fraction(self, inputs: ObjectiveInputs) -> float | None:
        return self.objective.clip_fraction(inputs)

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        loss = self.objective(inputs)
        if self.at.se == 0:
            return loss
        variance = _variance(self.summands(inputs), self.at.means, self.at.rows)
        return loss + 0.5 * self.standard_errors * (self.at.se + variance / self.at.se)


def _variance(summands: Summands, means: Sequence[float], rows: Sequence[float]) -> Tensor:
    """Sum over the means of their summands' mean squared deviation from ``means``, over the number of ``rows``."""
    parts = [
        (weight * (value - mean).square()).sum() / weight.sum() / n
        for (value, weight), mean, n in zip(summands, means, rows, strict=True)
    ]
    return sum(parts[1:], parts[0])
