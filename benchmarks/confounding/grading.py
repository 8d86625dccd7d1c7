"""Grades a policy by the exact truth, at its own KL and at a KL that is common to all methods.

Every method leaves one policy, and is brought to a common KL in one way: by the geometric path from the reference P0
to its policy P1, P_a(x) proportional to P0(x)^(1-a) P1(x)^a for a in [0, 1]. KL(P_a || P0) rises along it, and where P1
is P0 exp(r / beta) the path holds the optimum for every larger beta, so that it is the policy's own frontier of value
against KL (mixing the logits of two models at decoding time approximates it: Liu et al. 2024, "Decoding-time
realignment of language models"). A policy that is nearer to the reference than the common KL stays where it is. All
sums are over the world's texts; probability outside them is reported as lost mass. Only the gain of all that a policy
writes, with which a run's own interval is compared, counts other texts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from causalopt.backends.contracts import Policy
from causalopt.simulation.all_texts import SampledValue, value_of_all_texts
from causalopt.simulation.contracts import AnyTextWorld, World
from causalopt.typing import Float64

COMMON_KL = 0.25
"""Nats from the reference at which methods are compared."""
FRONTIER = (0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0)
"""Nats at which the frontier is written down."""
DRAWS = 1000
"""Texts drawn from a policy for the true value of those that are not the world's."""
FAR_KL = 1.5
"""Nats at which the oracle is a measure of what there was to be gained."""
LONGEST = 8.0
"""Largest multiple of a policy's own distance to which its path is followed."""
ROUNDING = 1e-6
"""Mass outside the world's texts that is none."""


@dataclass(frozen=True)
class Point:
    """A policy on the path: its KL, its value, and the largest value at that KL."""

    kl: float
    value: float
    best: float


class Grader:
    """Knows the world and the reference, and grades any number of policies by the world's own sums."""

    def __init__(self, world: World, reference: Policy) -> None:
        self.world = world
        self._given_reference = reference
        self.reference = Tabulated(reference)
        self.start = world.true_value(self.reference)

    def grade(self, policy: Policy) -> tuple[dict[str, float], list[Point]]:
        """Return the numbers of a policy, outcome units and nats, and its frontier up to its own KL."""
        tabulated = Tabulated(policy)
        own = self._point(tabulated, 1.0)
        common = self.at_kl(tabulated, COMMON_KL)
        frontier = [self.at_kl(tabulated, kl) for kl in FRONTIER if kl < own.kl]
        numbers = {
            "value_reference": self.start.value,
            "mass_reference": self.start.mass,
            "mass": self.world.true_value(tabulated).mass,
            **self._numbers(own, ""),
            **self._numbers(common, "_common"),
        }
        return numbers, [*frontier, own]

    def far(self, policy: Policy) -> dict[str, float]:
        """Return the numbers of the path's point at `FAR_KL`, beyond the policy itself where that is nearer."""
        tabulated = Tabulated(policy)
        furthest = 1.0
        while self._kl(tabulated, furthest) < FAR_KL and furthest < LONGEST:
            furthest *= 2
        return self._numbers(self.at_kl(tabulated, FAR_KL, furthest), "_far")

    def gain_of_all_texts(self, policy: Policy) -> dict[str, float]:
        """True gain over all texts that policy and reference write, with its Monte Carlo standard error.

        Unknown (nan) where they write texts that the world knows nothing of.
        """
        if policy is self._given_reference:
            return {"gain_all": 0.0, "gain_all_se": 0.0}
        start, end = self._start_of_all_texts, self._of_all_texts(policy, seed=1)
        return {"gain_all": end.value - start.value, "gain_all_se": float(np.hypot(start.se, end.se))}

    @cached_property
    def _start_of_all_texts(self) -> SampledValue:
        return self._of_all_texts(self.reference, seed=0)

    def _of_all_texts(self, policy: Policy, seed: int) -> SampledValue:
        if isinstance(self.world, AnyTextWorld):
            return value_of_all_texts(self.world, policy, policy.sample(None, DRAWS, seed))
        exact = self.world.true_value(policy)
        return SampledValue(exact.value if exact.mass > 1 - ROUNDING else np.nan, 0.0)

    def at_kl(self, policy: Policy, kl: float, furthest: float = 1.0) -> Point:
        """Return the point of the path at ``kl`` nats, or its end, at ``furthest``, where that is nearer."""
        if self._kl(policy, furthest) <= kl:
            return self._point(policy, furthest)
        return self._point(policy, brentq(lambda share: self._kl(policy, share) - kl, 0.0, furthest, xtol=1e-9))

    def _kl(self, policy: Policy, share: float) -> float:
        return self.world.kl(Mixed(self.reference, policy, share), self.reference)

    def _point(self, policy: Policy, share: float) -> Point:
        kl = self._kl(policy, share)
        value = self.world.true_value(Mixed(self.reference, policy, share)).value
        return Point(kl, value, self.world.best_value(self.reference, kl))

    def _numbers(self, point: Point, suffix: str) -> dict[str, float]:
        gain, possible = point.value - self.start.value, point.best - self.start.value
        return {
            f"kl{suffix}": point.kl,
            f"value{suffix}": point.value,
            f"best{suffix}": point.best,
            f"gain{suffix}": gain,
            f"gain_share{suffix}": gain / possible if possible > 0 else 0.0,
        }


class Tabulated:
    """A policy that remembers the log-probabilities it was last asked for: a world asks for all its texts each time."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: tuple[list[str] | None, list[str]] | None = None
        self._known: Float64

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        asked = (None if prompts is None else list(prompts), list(texts))
        if asked != self._asked:
            self._known, self._asked = self._policy.log_prob(prompts, texts), asked
        return self._known

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        return self._policy.sample(prompts, n, seed)


class Mixed:
    """The geometric path; log-probabilities up to a constant for each prompt, which a world divides out."""

    def __init__(self, reference: Policy, policy: Policy, share: float) -> None:
        self._reference, self._policy, self._share = reference, policy, share

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        start, end = self._reference.log_prob(prompts, texts), self._policy.log_prob(prompts, texts)
        return (1 - self._share) * start + self._share * end
