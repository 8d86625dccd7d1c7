"""Settings that the objectives of the paper share: ratios, weights, distance to the reference, entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from causalopt.errors import ConfigError
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs


@dataclass(frozen=True)
class Modifiers(BaseObjective):
    """The settings shared by the objectives of the paper, independent of each other.

    Attributes
    ----------
    self_normalize:
        Divide the ratios by their weighted mean over the batch (Hajek weights): bounded, at the cost of a small bias.
    clip:
        Pessimistic clipping of the ratio to [1 - clip, 1 + clip] (Schulman et al. 2017, eq. 7).
    truncation_quantile:
        Ratios above this quantile of the batch are truncated to it and get no gradient (Ionides 2008).
    per_token:
        Use the geometric mean of the per-token ratios, exp(log_ratio / length), in place of the ratio.
    kl:
        Coefficient of KL(P^f || P^f0), reward units per nat, on the sampled texts.
    forward_kl:
        Coefficient of KL(P^f0 || P^f), reward units per nat, on the sampled texts. It anchors the probability mass:
        only this term detects that mass moves from the reference's texts to texts that were never sampled, which the
        self-normalised terms and, on a finite sample, KL(P^f || P^f0) do not.
    entropy:
        Coefficient of the entropy of P^f, reward units per nat, on the sampled texts.
    """

    self_normalize: bool = True
    clip: float | None = None
    truncation_quantile: float | None = None
    per_token: bool = False
    kl: float = 0.1
    forward_kl: float = 0.3
    entropy: float = 0.0

    def __post_init__(self) -> None:
        if self.clip is not None and self.clip <= 0:
            raise ConfigError(f"objective.clip must be positive or null, not {self.clip}")
        quantile = self.truncation_quantile
        if quantile is not None and not 0 < quantile < 1:
            raise ConfigError(f"objective.truncation_quantile must be in (0, 1) or null, not {quantile}")
        if min(self.kl, self.forward_kl, self.entropy) < 0:
            raise ConfigError("objective.kl, objective.forward_kl and objective.entropy must not be negative")

    @property
    def regularized(self) -> bool:
        """Whether any term penalises the distance to the reference or rewards entropy."""
        return max(self.kl, self.forward_kl, self.entropy) > 0

    @property
    def couples_batch(self) -> bool:
        return self.self_normalize or self.truncation_quantile is not None

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether there is a g term that can use texts of a later policy."""
        return False

    def expectation(self, log_ratio: Tensor, reward: Tensor, weight: Tensor, length: Tensor) -> Tensor:
        """Importance-weighted mean of ``reward`` under the policy, in reward units."""
        reward, weight = reward.double(), weight.double()
        ratio, _ = self._ratio(log_ratio, weight, length)
        # E_q[rho * reward] = E_f[reward]; the exposures are divided by their sum, so that their scale has no effect.
        gain = ratio * reward
        if self.clip is not None:
            # PPO's surrogate: the smaller of the two is a lower bound, with zero gradient beyond the clipping range.
            gain = torch.minimum(gain, ratio.clamp(1 - self.clip, 1 + self.clip) * reward)
        return (weight * gain).sum() / weight.sum()

    def clip_fraction(self, inputs: ObjectiveInputs) -> float:
        """Share of the logged weight whose ratio is truncated, or outside of [1 - clip, 1 + clip]."""
        weight = inputs.weight.double()
        ratio, cut = self._ratio(inputs.log_ratio, weight, inputs.length)
        if self.clip is not None:
            cut = cut | ((ratio - 1).abs() > self.clip)
        return float((weight * cut).sum() / weight.sum())

    def _ratio(self, log_ratio: Tensor, weight: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Ratios as used in `expectation`, before clipping, and a mask of those that were truncated."""
        log_ratio = log_ratio.double()
        if self.per_token:
            log_ratio = log_ratio / length.double()
        cut = torch.zeros_like(log_ratio, dtype=torch.bool)
        if self.truncation_quantile is not None:
            bound = torch.quantile(log_ratio.detach(), self.truncation_quantile)
            cut = log_ratio > bound
            log_ratio = torch.where(cut, bound, log_ratio)
        if self.self_normalize:
            # rho_i / mean(rho), in logarithms; the mean is also differentiated, which couples the batch.
            log_mean = torch.logsumexp(log_ratio + weight.log(), 0) - weight.sum().log()
            log_ratio = log_ratio - log_mean
        return log_ratio.exp(), cut

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

    def _data_term(self, inputs: ObjectiveInputs, reward: Tensor) -> Tensor:
        return self.expectation(inputs.log_ratio, reward, inputs.weight, inputs.length)

    def _sampled_term(self, inputs: ObjectiveInputs) -> Tensor:
        inputs = inputs.newest()
        return self.expectation(
            inputs.sampled_log_ratio, inputs.sampled_g, inputs.sampled_weight, inputs.sampled_length
        )
