"""Penalties for the distance to the reference, measured on texts drawn from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalopt.doors import check_number
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs

LARGEST = 1e6
"""Largest coefficient; a policy with it stays at its reference, and products of larger ones overflow."""


@dataclass(frozen=True)
class Anchored(BaseObjective):
    """The settings that keep a policy near its reference.

    The defaults of the two coefficients were chosen by what a run reaches (docs/benchmarks.md, "What a user reaches").

    Attributes
    ----------
    kl:
        Coefficient of KL(P^f || P^f0), reward units per nat, on the sampled texts.
    forward_kl:
        Coefficient of KL(P^f0 || P^f), reward units per nat, on the sampled texts. It anchors the probability mass:
        only this term detects that mass moves from the reference's texts to texts that were never sampled, which the
        self-normalised terms and, on a finite sample, KL(P^f || P^f0) do not.
    entropy:
        Coefficient of the entropy of P^f, reward units per nat, on the sampled texts.
    """

    kl: float = 0.05
    forward_kl: float = 0.2
    entropy: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kl", "forward_kl", "entropy"):
            check_number(f"objective.{name}", vars(self)[name], least=0, most=LARGEST)

    @property
    def regularized(self) -> bool:
        """Whether any term penalises the distance to the reference or rewards entropy."""
        return max(self.kl, self.forward_kl, self.entropy) > 0

    def regularizer(self, inputs: ObjectiveInputs) -> Tensor:
        """KL and entropy terms, to be added to the loss.

        With texts drawn from the reference, E[rho log rho - rho + 1] = KL(P^f || P^f0) and
        E[rho - 1 - log rho] = KL(P^f0 || P^f); the term ``rho - 1`` has mean zero and makes every summand non-negative
        (the k3 estimator of Schulman 2020, "Approximating KL divergence"). Neither is self-normalised.
        """
        total = inputs.log_ratio.new_zeros((), dtype=torch.float64)
        if not self.regularized:
            return total
        inputs = inputs.of_reference()
        log_ratio, weight = inputs.sampled_log_ratio.double(), inputs.sampled_weight.double()
        share = weight / weight.sum()
        ratio = log_ratio.exp()
        # E_f0[rho log rho - (rho - 1)] = KL(f || f0), E_f0[(rho - 1) - log rho] = KL(f0 || f), E_f0[rho log f] = -H(f).
        if self.kl:
            total = total + self.kl * (share * (ratio * log_ratio - ratio + 1)).sum()
        if self.forward_kl:
            total = total + self.forward_kl * (share * (ratio - 1 - log_ratio)).sum()
        if self.entropy:
            log_prob = log_ratio + inputs.sampled_reference_log_prob.double()
            total = total + self.entropy * (share * ratio * log_prob).sum()
        return total
