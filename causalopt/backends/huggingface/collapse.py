"""Detection of a collapsed fit: in several consecutive steps a single text dominates the window's ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

STEPS = 5
"""Number of consecutive steps that count as a collapse; a single one may be chance."""
ALONE = 0.05
"""Largest excess over one row, as a share of the window's rows, of an effective sample size that counts as one text."""
GOOD = 0.25
"""Smallest effective sample size, as a share of the window's rows, at which the weights are kept."""
FAR = 5.0
"""Smallest KL(reference || policy), nats, of a collapsed policy; not required if no texts are sampled."""


@dataclass
class CollapseWatch:
    """Counts consecutive windows dominated by one text, and keeps the weights from before them.

    Ratios spread as a policy moves, and a window of 16 rows with an effective sample size of 3 is ordinary. The size is
    below 1.8 five times in a row only if a policy prefers some logged texts to the others by many nats: the data then
    contain no information about the policy beyond that on these texts. The cause is a learning rate that is too large,
    or texts so long that any step moves their log-probability by nats.

    Examples
    --------
    >>> from causalopt.backends.huggingface.collapse import CollapseWatch
    >>> watch = CollapseWatch()
    >>> [watch.sees({"weights/ess": 1.1, "forward_kl": 56.0}, rows=16) for _ in range(5)]
    [False, False, False, False, True]
    """

    streak: int = 0
    latest: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def start(self, model: nn.Module) -> None:
        """Keep the weights from which the fit starts or resumes."""
        self.latest = self.kept = _copy(model)

    def sees(self, metrics: Mapping[str, float], rows: int) -> bool:
        """Record the metrics of a window of ``rows``; return whether the fit has collapsed.

        The metrics refer to the weights before the step. These are kept if the effective sample size is at least a
        quarter of the rows.
        """
        size = metrics["weights/ess"]
        if size >= GOOD * rows:
            self.kept = self.latest
        alone = rows > 1 and size < 1 + ALONE * rows
        self.streak = self.streak + 1 if alone and metrics.get("forward_kl", FAR) >= FAR else 0
        return self.streak >= STEPS

    def stepped(self, model: nn.Module) -> None:
        """Record the weights after a step."""
        self.latest = _copy(model)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Restore the weights that were kept."""
        for name, value in _trained(model).items():
            value.copy_(self.kept[name])


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
