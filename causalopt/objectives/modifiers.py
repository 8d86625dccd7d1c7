"""Settings that the objectives of the paper share: ratios, their limits, weights, pessimism."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from causalopt.doors import check_number
from causalopt.objectives.contract import Objective, ObjectiveInputs
from causalopt.objectives.distance import LARGEST, Anchored
from causalopt.objectives.pessimism import Pessimistic, moments


@dataclass(frozen=True)
class Modifiers(Anchored):
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
    taper:
        A text with a negative reward has a coefficient of at most one: its term rho * reward becomes h(rho) * reward
        with h = rho up to 1 and 1 + log rho above, whose derivative by log rho is min(rho, 1). A bad text that the
        policy has made more probable is then not pushed away the harder the more probable it is (the negative half of
        TOPR: Le Roux et al. 2025, "Tapered off-policy REINFORCE", arXiv 2503.14286, with [rho]_0^1).
    band:
        Limits log rho to plus or minus band times the square root of the text's number of tokens, nats; texts outside
        of the band get no gradient. A log-ratio is a sum over tokens, whose spread grows like that square root
        (truncated importance sampling, Ionides 2008, with a bound that has the scale of Azuma's inequality).
    pessimism:
        Number of standard errors of the estimated value that are subtracted from it, with the variance of the whole
        training set, computed once a pass (`causalopt.objectives.pessimism`; Swaminathan and Joachims 2015).
    kl, forward_kl, entropy:
        See `causalopt.objectives.distance.Anchored`.
    """

    self_normalize: bool = True
    clip: float | None = None
    truncation_quantile: float | None = None
    per_token: bool = False
    taper: bool = False
    band: float | None = None
    pessimism: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip is not None:
            check_number("objective.clip", self.clip, above=0)
        if self.truncation_quantile is not None:
            check_number("objective.truncation_quantile", self.truncation_quantile, above=0, below=1)
        if self.band is not None:
            check_number("objective.band", self.band, above=0)
        check_number("objective.pessimism", self.pessimism, least=0, most=LARGEST)

    @property
    def couples_batch(self) -> bool:
        return self.self_normalize or self.truncation_quantile is not None

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether there is a g term that can use texts of a later policy."""
        return False

    @property
    def reads_whole_set(self) -> bool:
        return self.pessimism > 0

    def given(self, whole: ObjectiveInputs) -> Objective:
        """Return the objective minus ``pessimism`` standard errors, with the variance of the whole training set."""
        if not self.pessimism:
            return self
        return Pessimistic(replace(self, pessimism=0.0), self.terms, moments(self.terms(whole)), self.pessimism)

    @abstractmethod
    def terms(self, inputs: ObjectiveInputs) -> list[tuple[Tensor, Tensor]]:
        """Return the summands rho * reward of each of the objective's means, and their weights."""

    def expectation(self, log_ratio: Tensor, reward: Tensor, weight: Tensor, length: Tensor) -> Tensor:
        """Importance-weighted mean of ``reward`` under the policy, in reward units."""
        reward, weight = reward.double(), weight.double()
        log_ratio, _ = self._log_ratio(log_ratio, weight, length)
        ratio = log_ratio.exp()
        if self.taper:
            # min(rho, 1) is the derivative by log rho of rho below one, and of 1 + log rho above.
            ratio = torch.where((reward < 0) & (log_ratio > 0), 1 + log_ratio, ratio)
        # E_q[rho * reward] = E_f[reward]; the exposures are divided by their sum, so that their scale has no effect.
        gain = ratio * reward
        if self.clip is not None:
            # PPO's surrogate: the smaller of the two is a lower bound, with zero gradient beyond the clipping range.
            gain = torch.minimum(gain, ratio.clamp(1 - self.clip, 1 + self.clip) * reward)
        return (weight * gain).sum() / weight.sum()

    def clip_fraction(self, inputs: ObjectiveInputs) -> float:
        """Share of the logged weight whose ratio is limited: by quantile, by band, or to [1 - clip, 1 + clip]."""
        weight = inputs.weight.double()
        log_ratio, cut = self._log_ratio(inputs.log_ratio, weight, inputs.length)
        if self.clip is not None:
            cut = cut | ((log_ratio.exp() - 1).abs() > self.clip)
        return float((weight * cut).sum() / weight.sum())

    def _log_ratio(self, log_ratio: Tensor, weight: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """Log-ratios as used in `expectation`, before clipping and tapering, and a mask of those that were limited."""
        log_ratio, length = log_ratio.double(), length.double()
        cut = torch.zeros_like(log_ratio, dtype=torch.bool)
        if self.band is not None:
            limit = self.band * length.sqrt()
            cut = log_ratio.abs() > limit
            log_ratio = torch.where(cut, limit.copysign(log_ratio.detach()), log_ratio)
        if self.per_token:
            log_ratio = log_ratio / length
        if self.truncation_quantile is not None:
            bound = torch.quantile(log_ratio.detach(), self.truncation_quantile)
            above = log_ratio > bound
            cut, log_ratio = cut | above, torch.where(above, bound, log_ratio)
        if self.self_normalize:
            # rho_i / mean(rho), in logarithms; the mean is also differentiated, which couples the batch.
            log_mean = torch.logsumexp(log_ratio + weight.log(), 0) - weight.sum().log()
            log_ratio = log_ratio - log_mean
        return log_ratio, cut

    def _data_term(self, inputs: ObjectiveInputs, reward: Tensor) -> Tensor:
        return self.expectation(inputs.log_ratio, reward, inputs.weight, inputs.length)

    def _sampled_term(self, inputs: ObjectiveInputs) -> Tensor:
        inputs = inputs.newest()
        return self.expectation(
            inputs.sampled_log_ratio, inputs.sampled_g, inputs.sampled_weight, inputs.sampled_length
        )


def data_summands(inputs: ObjectiveInputs, reward: Tensor) -> tuple[Tensor, Tensor]:
    """Summands rho_i * (reward_i + noise_i) of a mean over the logged texts, and their weights."""
    noise = 0.0 if inputs.noise is None else inputs.noise.double()
    return inputs.log_ratio.double().exp() * (reward.double() + noise), inputs.weight.double()


def sampled_summands(inputs: ObjectiveInputs) -> tuple[Tensor, Tensor]:
    """Summands rho~_j * g_j of a mean over the reference's texts, and their weights."""
    inputs = inputs.of_reference()
    return inputs.sampled_log_ratio.double().exp() * inputs.sampled_g.double(), inputs.sampled_weight.double()
