"""A fit that ends when its policy is far enough from the reference."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.doors import check_number
from causalopt.errors import TruncationWarning
from causalopt.evaluation.divergence import divergence
from causalopt.evaluation.policies import Draws, context_rows

KL_DRAWS = 256
"""Number of texts from which the KL of a policy during the fit is estimated."""


@dataclass(frozen=True)
class UntilKL:
    """Ends a fit at the first policy whose KL to the reference reaches ``target_kl``, and keeps that policy.

    It is a `CheckpointRule`. The path from the reference then leads past the target, and is followed back to it
    (`causalopt.optimization.path.policy_at_kl`).

    Attributes
    ----------
    kl:
        KL of a policy to the reference, nats.
    target_kl:
        Nats.
    name:
        Identifies the rule in the name of a fit's checkpoints.

    Raises
    ------
    ConfigError
        If the target is not positive.

    Examples
    --------
    >>> from causalopt.optimization.kl_limit import UntilKL
    >>> rule = UntilKL(kl=lambda policy: policy, target_kl=1.0)
    >>> found = [rule.judge(kl) for kl in (0.2, 0.7, 1.1)]
    >>> rule.is_over(found[:2]), rule.is_over(found), rule.best(found)
    (False, True, 2)
    """

    kl: Callable[[Policy], float] = field(repr=False)
    target_kl: float
    name: str = ""

    def __post_init__(self) -> None:
        check_number("target_kl", self.target_kl, above=0)

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return the policy's ``kl``, which is also its ``score``."""
        kl = self.kl(policy)
        return {"kl": kl, "score": kl}

    def is_over(self, found: Sequence[Mapping[str, float]]) -> bool:
        """Whether the last policy has reached the target."""
        return bool(found) and found[-1]["kl"] >= self.target_kl

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        """Position of the first policy that reached the target, else of the last one."""
        reached = [i for i, one in enumerate(found) if one["kl"] >= self.target_kl]
        return reached[0] if reached else len(found) - 1


def kl_to(reference: Policy, data: DirectOutcomeDataset, seed: int, draws: int = KL_DRAWS) -> Callable[[Policy], float]:
    """Return a function that computes a policy's KL to the reference, nats, given the prompts of ``data``.

    The KL is summed for policies over known texts, and otherwise estimated on ``draws`` texts of the policy (see
    `causalopt.evaluation.divergence.divergence`), drawn with the same seed for every policy.
    """
    row = context_rows(data, draws, seed)

    def kl(policy: Policy) -> float:
        prompts = None if data.prompts is None or row is None else [data.prompts[i] for i in row]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # texts of the final policy are drawn again later
            texts = policy.sample(prompts, draws if prompts is None else len(prompts), seed)
        drawn = Draws(texts, prompts, g=np.zeros(len(texts)), row=row)
        found = divergence(policy, reference, data, drawn)
        return math.inf if found is None else found.kl

    return kl
