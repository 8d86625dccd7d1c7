"""The contract of an objective: a pure function of scalars, from log-ratios to a loss.

An objective never sees a model. Its derivative with respect to each log-ratio is that sequence's coefficient, so that
the gradient in the model's parameters is that of a weighted likelihood: ``sum_i coefficient_i * d log P^f(x_i)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class ObjectiveInputs:
    """The scalars of one batch; rewards are oriented so that larger is better.

    Attributes
    ----------
    log_ratio:
        log P^f(x_i) - log q(x_i) of the logged texts, shape [n], nats, with gradient.
    residual, g, weight:
        Scalars of the logged texts, shape [n]; ``weight`` is the exposure.
    length:
        Number of tokens of each logged text, shape [n].
    sampled_log_ratio:
        log P^f(x~_j) - log P^f0(x~_j) of texts drawn from the reference, shape [m], nats, with gradient.
    sampled_g, sampled_weight, sampled_length:
        The same for the drawn texts, shape [m].
    sampled_reference_log_prob:
        log P^f0(x~_j), shape [m], nats.
    sampled_on_policy:
        Shape [m], 1 for a text drawn from the policy of an earlier step and 0 for one drawn from the reference; None if
        all are from the reference. For the former, the two logarithms above refer to the policy that drew the text.
        Such texts enter the g term, and those of the reference enter all terms that measure the distance from it.
    noise:
        What a second stage left out of ``residual``, whose mean given the text is zero, shape [n]: it has a part in the
        variance of an estimated value and none in the value. None if nothing was left out.
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
    noise: Tensor | None = None

    def of_reference(self) -> ObjectiveInputs:
        """Keep the sampled texts that were drawn from the reference."""
        return self if self.sampled_on_policy is None else self._keep(self.sampled_on_policy == 0)

    def newest(self) -> ObjectiveInputs:
        """Keep the sampled texts that were drawn from a later policy; if there are none, those of the reference."""
        if self.sampled_on_policy is None or not bool(self.sampled_on_policy.any()):
            return self
        return self._keep(self.sampled_on_policy != 0)

    def _keep(self, chosen: Tensor) -> ObjectiveInputs:
        names = [field.name for field in fields(self) if field.name.startswith("sampled_")]
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


@runtime_checkable
class Objective(Protocol):
    """A scalar loss of `ObjectiveInputs` of a whole window, a mean over its rows or a sum; smaller is better."""

    @property
    def needs_samples(self) -> bool:
        """Whether the objective uses texts drawn from the reference."""
        ...

    @property
    def couples_batch(self) -> bool:
        """Whether a sequence's coefficient depends on the log-ratios of others; if so, the window is scored first."""
        ...

    @property
    def second_stage(self) -> str | Mapping[str, Any] | None:
        """The model that predicts the residuals from the text, see `BaseObjective`."""
        ...

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether the objective can use texts drawn from a later policy, see `BaseObjective`."""
        ...

    @property
    def reads_whole_set(self) -> bool:
        """Whether `given` is to be called at the start of each pass over the rows, see `BaseObjective`."""
        ...

    def given(self, whole: ObjectiveInputs) -> Objective:
        """Return the objective of the next pass, see `BaseObjective`."""
        ...

    def clip_fraction(self, inputs: ObjectiveInputs) -> float | None:
        """Share of the logged weight whose ratio is clipped or truncated, see `BaseObjective`."""
        ...

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        """Return the loss, a float64 scalar."""
        ...


OBJECTIVE = (
    "needs_samples",
    "couples_batch",
    "second_stage",
    "takes_on_policy_texts",
    "reads_whole_set",
    "given",
    "clip_fraction",
    "__call__",
)
"""Attributes that an object needs to be an `Objective`."""


class BaseObjective(ABC):
    """Default properties of an objective: a class that inherits from it only has to be callable.

    Examples
    --------
    >>> from causalopt.objectives.contract import BaseObjective, Objective
    >>> class LogLikelihood(BaseObjective):
    ...     def __call__(self, inputs):
    ...         return -(inputs.weight * inputs.log_ratio).mean()
    >>> isinstance(LogLikelihood(), Objective), LogLikelihood().needs_samples
    (True, False)
    """

    @property
    def needs_samples(self) -> bool:
        """Whether texts drawn from the reference are used: False by default."""
        return False

    @property
    def couples_batch(self) -> bool:
        """Whether the window is scored first: True by default, which is correct for every objective."""
        return True

    @property
    def second_stage(self) -> str | Mapping[str, Any] | None:
        """Model that predicts the residuals (``ridge-text`` or an outcome model); None uses the residuals unchanged."""
        return None

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether texts drawn from the policy of a later step can be used: False by default."""
        return False

    @property
    def reads_whole_set(self) -> bool:
        """Whether the objective depends on the whole training set beyond its window: False by default."""
        return False

    def given(self, whole: ObjectiveInputs) -> Objective:
        """Return the objective of the next pass: itself, by default.

        Parameters
        ----------
        whole:
            The scalars of all rows at the start of the pass, without gradient.
        """
        return self

    def clip_fraction(self, inputs: ObjectiveInputs) -> float | None:
        """Share of the logged weight whose ratio is clipped or truncated; None if the objective does neither."""
        return None

    @abstractmethod
    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        """Return the loss, a float64 scalar."""


def coefficients(objective: Objective, inputs: ObjectiveInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the loss and its derivative with respect to each log-ratio.

    Returns
    -------
    loss, data, sampled:
        Float64: a scalar, [n] and [m]. The gradient of the loss with respect to any parameter is
        ``sum_i data_i * d log P^f(x_i) + sum_j sampled_j * d log P^f(x~_j)``.

    Examples
    --------
    >>> import torch
    >>> from causalopt.objectives.contract import ObjectiveInputs, coefficients
    >>> from causalopt.objectives.paper import CPO
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
