"""Maximum likelihood as an objective, for tuning the reference policy on the logged texts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from causalopt.objectives.contract import BaseObjective, ObjectiveInputs


@dataclass(frozen=True)
class Likelihood(BaseObjective):
    """Weighted mean negative log-likelihood, for rows whose behavior log-probability is 0.

    Attributes
    ----------
    mean_length:
        Mean number of tokens of a text over the whole data, so that the loss is in nats per token and the contribution
        of a text does not depend on its batch.
    """

    mean_length: float

    @property
    def couples_batch(self) -> bool:
        return False

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        weight = inputs.weight.double()
        return -(weight * inputs.log_ratio).sum() / weight.sum() / self.mean_length
