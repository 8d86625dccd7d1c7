"""When a fit leaves the data behind: step after step a single text carries the window's ratios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

STEPS = 5
"""Steps in a row that make a collapse; one such window may be chance."""
ALONE = 0.05
"""Share of the window's rows by which its effective sample may exceed a single one."""
GOOD = 0.25
"""Share of the window's rows from which its effective sample speaks for the weights."""
FAR = 5.0
"""KL of the reference to the policy, nats, from which the policy is far; not asked where no texts are sampled."""


@dataclass
class CollapseWatch:
    """Counts windows that rest on one text, and keeps the weights that came before them.

    Ratios spread as a policy moves, and a window of 16 rows that counts as 3 is ordinary. It counts as fewer than 1.8
    five times in a row only where a policy prefers some logged texts to the others by many nats: nothing that the data
    say of it is more than what they say of these. That is what too large a learning rate does, or texts so long that
    any step moves their probability by nats.

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
        """Keep the weights that the fit starts or goes on from."""
        self.latest = self.kept = _copy(model)

    def sees(self, metrics: Mapping[str, float], rows: int) -> bool:
        """Take note of the metrics of a window of ``rows``; say whether the fit has collapsed.

        They are of the weights before the step, which are kept if the window counts as a quarter of its rows at least.
        """
        size = metrics["weights/ess"]
        if size >= GOOD * rows:
            self.kept = self.latest
        alone = rows > 1 and size < 1 + ALONE * rows
        self.streak = self.streak + 1 if alone and metrics.get("forward_kl", FAR) >= FAR else 0
        return self.streak >= STEPS

    def stepped(self, model: nn.Module) -> None:
        """Take note of the weights after a step."""
        self.latest = _copy(model)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the weights back that were kept."""
        for name, value in _trained(model).items():
            value.copy_(self.kept[name])


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}
