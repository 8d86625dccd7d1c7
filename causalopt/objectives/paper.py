"""Objectives: pure functions of scalars, from log-ratios to a loss (Lin, Ben-Michael and Morency, UAI 2024).

An objective never sees a model. Its derivative with respect to each log-ratio is that sequence's coefficient, so that
the gradient in the model's parameters is one weighted likelihood: ``sum_i coefficient_i * d log P^f(x_i)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from causalopt.errors import ConfigError


@dataclass(frozen=True)
class ObjectiveInputs:
    """The scalars of one batch; rewards are oriented so that larger is better.

    Attributes
    ----------
    log_ratio:
        log P^f(x_i) - log q(x_i) of the logged texts, shape [n], nats, with gradient.
    residual, g, weight:
        Of the logged texts, shape [n]; ``weight`` is the exposure.
    length:
        Tokens of each logged text, shape [n].
    sampled_log_ratio:
        log P^f(x~_j) - log P^f0(x~_j) of texts drawn from the reference, shape [m], nats, with gradient.
    sampled_g, sampled_weight, sampled_length:
        Of the drawn texts, shape [m].
    sampled_reference_log_prob:
        log P^f0(x~_j), shape [m], nats.
    sampled_on_policy:
        Shape [m], 1 for a text that a policy of an earlier step drew and 0 for one of the reference's; None when there
        are the reference's alone. The two logs above are then of the policy that drew the text. Such texts belong to
        the g term, and the reference's to all that measures the distance from it.
    """

    log_ratio: Tensor
    residual: Tensor
    g: Tensor
    weight: Tensor
    length: Tensor
    sampled_log_ratio: Tensor
    sampled_g: Tensor
    sampled_weight: Tensor
    sampled_length: Tensor
    sampled_reference_log_prob: Tensor
    sampled_on_policy: Tensor | None = None

    def of_reference(self) -> ObjectiveInputs:
        """Keep the sampled texts that the reference drew."""
        return self if self.sampled_on_policy is None else self._keep(self.sampled_on_policy == 0)

    def newest(self) -> ObjectiveInputs:
        """Keep the sampled texts that a later policy drew; the reference's while there are no others."""
        if self.sampled_on_policy is None or not bool(self.sampled_on_policy.any()):
            return self
        return self._keep(self.sampled_on_policy != 0)

    def _keep(self, chosen: Tensor) -> ObjectiveInputs:
        names = [field.name for field in fields(self) if field.name.startswith("sampled_")]
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@runtime_checkable
class Objective(Protocol):
    """A scalar loss of `ObjectiveInputs`, smaller is better: of a whole window, as a mean over its rows or as a sum."""

    @property
    def needs_samples(self) -> bool:
        """Whether texts drawn from the reference enter."""
        ...

    @property
    def couples_batch(self) -> bool:
        """Whether one sequence's coefficient depends on the log-ratios of others: the window is then scored first."""
        ...

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        """Return the loss, a float64 scalar."""
        ...


@dataclass(frozen=True)
class Modifiers:
    """The settings every objective shares, each one thing.

    Attributes
    ----------
    self_normalize:
        Divide the ratios by their weighted mean over the batch (Hajek weights): bounded, at the price of a small bias.
    clip:
        Pessimistic clipping of the ratio to [1 - clip, 1 + clip] (Schulman et al. 2017, eq. 7).
    truncation_quantile:
        Ratios above this quantile of the batch are cut down to it and get no gradient (Ionides 2008).
    per_token:
        Use the geometric mean of the per-token ratios, exp(log_ratio / length), in place of the ratio.
    kl:
        Coefficient of KL(P^f || P^f0), reward units per nat, on the sampled texts.
    forward_kl:
        Coefficient of KL(P^f0 || P^f), reward units per nat, on the sampled texts. It anchors the mass: only it
        notices probability that leaves what the reference writes for texts that were never sampled, while the
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
        """Whether any term keeps the policy near the reference or its entropy up."""
        return max(self.kl, self.forward_kl, self.entropy) > 0

    @property
    def couples_batch(self) -> bool:
        return self.self_normalize or self.truncation_quantile is not None

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether there is a g term that texts of a later policy may enter."""
        return False

    def expectation(self, log_ratio: Tensor, reward: Tensor, weight: Tensor, length: Tensor) -> Tensor:
        """Importance-weighted mean of ``reward`` under the policy, in reward units."""
        reward, weight = reward.double(), weight.double()
        ratio, _ = self._ratio(log_ratio, weight, length)
        gain = ratio * reward
        if self.clip is not None:
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
        """Ratios as `expectation` takes them, before clipping, and which of them were truncated."""
        log_ratio = log_ratio.double()
        if self.per_token:
            log_ratio = log_ratio / length.double()
        cut = torch.zeros_like(log_ratio, dtype=torch.bool)
        if self.truncation_quantile is not None:
            bound = torch.quantile(log_ratio.detach(), self.truncation_quantile)
            cut = log_ratio > bound
            log_ratio = torch.where(cut, bound, log_ratio)
        if self.self_normalize:
            log_mean = torch.logsumexp(log_ratio + weight.log(), 0) - weight.sum().log()
            log_ratio = log_ratio - log_mean
        return log_ratio.exp(), cut

    def regularizer(self, inputs: ObjectiveInputs) -> Tensor:
        """KL and entropy terms, to be added to the loss.

        With texts drawn from the reference, E[rho log rho - rho + 1] = KL(P^f || P^f0) and
        E[rho - 1 - log rho] = KL(P^f0 || P^f); the part ``rho - 1`` has mean zero and makes every summand non-negative
        (the k3 estimator of Schulman 2020, "Approximating KL divergence"). Neither is self-normalised.
        """
        total = inputs.log_ratio.new_zeros((), dtype=torch.float64)
        if not self.regularized:
            return total
        inputs = inputs.of_reference()
        log_ratio, weight = inputs.sampled_log_ratio.double(), inputs.sampled_weight.double()
        share = weight / weight.sum()
        ratio = log_ratio.exp()
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


@dataclass(frozen=True)
class CPO(Modifiers):
    """Causal preference optimisation: maximise mean_i rho_i * xi_i (Lin et al. 2024, the CPO objective)."""

    @property
    def needs_samples(self) -> bool:
        return self.regularized

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual + inputs.g)


@dataclass(frozen=True)
class OORLHF(Modifiers):
    """Outcome-optimised RLHF: maximise mean_j rho~_j * g(x~_j), all on texts drawn from the reference."""

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._sampled_term(inputs)


@dataclass(frozen=True)
class DRCPO(Modifiers):
    """Doubly robust CPO: maximise mean_i rho_i * (xi_i - g_i) + mean_j rho~_j * g(x~_j).

    The DR-CPO objective of Lin et al. (2024): the sampled term alone is right when g is, and the data term corrects
    what is wrong with g when the ratios and the stabilized weights are right.

    Attributes
    ----------
    second_stage:
        What predicts xi_i - g_i from the text: its predictions take the place of xi_i - g_i, whose noise they leave out
        (`causalopt.optimization.second_stage.expected_residual`). ``ridge-text`` is a ridge on the embedding with a random
        effect of each text, which keeps what the embedding does not show; an outcome model, by name or with settings,
        corrects what its regression finds and no more. None keeps xi_i - g_i, as the paper does. Read by whoever makes
        the problem (`causalopt.optimization.problem.policy_problem`).
    """

    second_stage: str | Mapping[str, Any] | None = "ridge-text"

    @property
    def needs_samples(self) -> bool:
        return True

    @property
    def takes_on_policy_texts(self) -> bool:
        return True

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        return self.regularizer(inputs) - self._data_term(inputs, inputs.residual) - self._sampled_term(inputs)


def fewest_rows(objective: Objective, per_row: int) -> int:
    """Smallest window in which outcomes have their effect: 2 where a single row is compared with itself, else 1.

    Self-normalised, the ratio of a single row is 1 whatever the policy, and its coefficient zero whatever its outcome.

    Parameters
    ----------
    objective:
        Any.
    per_row:
        Sampled texts of each row.

    Examples
    --------
    >>> from causalopt.objectives.paper import CPO, DRCPO, fewest_rows
    >>> fewest_rows(CPO(), 1), fewest_rows(CPO(self_normalize=False), 1), fewest_rows(DRCPO(), 2)
    (2, 1, 2)
    """
    alone, both = (_reached_by_outcomes(objective, rows, per_row) for rows in (1, 2))
    return 1 if alone == both else 2


def weighs_by_ratio(objective: Objective, per_row: int) -> bool:
    """Whether a sequence's coefficient depends on its ratio, as in an importance-weighted mean, or is given beforehand.

    Examples
    --------
    >>> from causalopt.objectives.imitation import SFT
    >>> from causalopt.objectives.paper import CPO, weighs_by_ratio
    >>> weighs_by_ratio(CPO(), 1), weighs_by_ratio(SFT(), 1)
    (True, False)
    """
    near, far = (torch.cat(coefficients(objective, _example(2, per_row, spread=spread))[1:]) for spread in (0.1, 1.0))
    return bool((near - far).abs().max() > 1e-9)


def _reached_by_outcomes(objective: Objective, rows: int, per_row: int) -> tuple[bool, bool]:
    """Whether the coefficients of a small window change with the logged texts' rewards, and with the sampled ones'."""
    inputs = _example(rows, per_row, spread=0.1)
    logged = replace(inputs, residual=-inputs.residual, g=-inputs.g)
    sampled = replace(inputs, sampled_g=-inputs.sampled_g)
    start = torch.cat(coefficients(objective, inputs)[1:])
    moved = [torch.cat(coefficients(objective, other)[1:]) - start for other in (logged, sampled)]
    # What is left where none of the rewards enters is rounding.
    return bool(moved[0].abs().max() > 1e-9), bool(moved[1].abs().max() > 1e-9)


def _example(rows: int, per_row: int, spread: float) -> ObjectiveInputs:
    """Make a small window of unequal rewards and log-ratios."""
    one, many = torch.ones(rows, dtype=torch.float64), torch.ones(rows * per_row, dtype=torch.float64)
    reward, sampled_reward = one.cumsum(0), many.cumsum(0)
    return ObjectiveInputs(
        spread * reward, reward, reward, one, one, -spread * sampled_reward, sampled_reward, many, many, -many
    )


def coefficients(objective: Objective, inputs: ObjectiveInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and its derivative with respect to each log-ratio.

    Returns
    -------
    loss, data, sampled:
        Float64: a scalar, [n] and [m]. The gradient of the loss in any parameter is
        ``sum_i data_i * d log P^f(x_i) + sum_j sampled_j * d log P^f(x~_j)``.

    Examples
    --------
    >>> import torch
    >>> from causalopt.objectives.paper import CPO, ObjectiveInputs, coefficients
    >>> n, none = 2, torch.zeros(0)
    >>> inputs = ObjectiveInputs(torch.zeros(n), torch.tensor([1.0, -1.0]), torch.zeros(n), torch.ones(n),
    ...                          torch.ones(n), none, none, none, none, none)
    >>> loss, data, sampled = coefficients(CPO(kl=0.0, forward_kl=0.0), inputs)
    >>> data.tolist()
    [-0.5, 0.5]
    """
    data = inputs.log_ratio.detach().double().requires_grad_()
    sampled = inputs.sampled_log_ratio.detach().double().requires_grad_()
    with torch.enable_grad():
        loss = objective(replace(inputs, log_ratio=data, sampled_log_ratio=sampled))
        d_data, d_sampled = torch.autograd.grad(loss, [data, sampled], allow_unused=True)
    zero_data, zero_sampled = torch.zeros_like(data), torch.zeros_like(sampled)
    return (
        loss.detach(),
        zero_data if d_data is None else d_data,
        zero_sampled if d_sampled is None else d_sampled,
    )
