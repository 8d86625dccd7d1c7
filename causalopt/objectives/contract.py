"""What an objective is: a pure function of scalars, from log-ratios to a loss.

An objective never sees a model. Its derivative with respect to each log-ratio is that sequence's coefficient, so that
the gradient in the model's parameters is one weighted likelihood: ``sum_i coefficient_i * d log P^f(x_i)``.
"""

from __future__ import annotations

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
        Tokens of each logged text, shape [n].
    sampled_log_ratio:
        log P^f(x~_j) - log P^f0(x~_j) of texts drawn from the reference, shape [m], nats, with gradient.
    sampled_g, sampled_weight, sampled_length:
        The same for the drawn texts, shape [m].
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

    @property
    def second_stage(self) -> str | Mapping[str, Any] | None:
        """What predicts the residuals from the text before they are seen, see `BaseObjective`."""
        ...

    @property
    def takes_on_policy_texts(self) -> bool:
        """Whether texts that a later policy drew may enter, see `BaseObjective`."""
        ...

    def clip_fraction(self, inputs: ObjectiveInputs) -> float | None:
        """Share of the logged weight whose ratio is cut, see `BaseObjective`."""
        ...

    def __call__(self, inputs: ObjectiveInputs) -> Tensor:
        """Return the loss, a float64 scalar."""
        ...


OBJECTIVE = ("needs_samples", "couples_batch", "second_stage", "takes_on_policy_texts", "clip_fraction", "__call__")
"""What an object must have to be an `Objective`."""


class BaseObjective:
    """What an objective need not say: a class of yours that inherits from it only has to be callable.

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
        """No texts drawn from the reference enter."""
        return False

    @property
    def couples_batch(self) -> bool:
        """The window is scored first, which is right for every objective; False where that pass is not needed."""
        return True

    @property
    def second_stage(self) -> str | Mapping[str, Any] | None:
        """Residuals are seen as they are; ``ridge-text`` or an outcome model: as it predicts them from the text."""
        return None

    @property
    def takes_on_policy_texts(self) -> bool:
        """There is no term for texts that a policy of a later step drew."""
        return False

    def clip_fraction(self, inputs: ObjectiveInputs) -> float | None:
        """Share of the logged weight whose ratio is clipped or truncated; None where nothing can be."""
        return None


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
