"""Grades a policy by the exact truth, at its own KL and at a KL that is common to all methods.

Every method leaves one policy, and is brought to a common KL in one way: by the geometric path from the reference P0 to
its policy P1, P_a(x) proportional to P0(x)^(1-a) P1(x)^a for a in [0, 1]. KL(P_a || P0) rises along it, and where P1 is
P0 exp(r / beta) the path holds the optimum for every larger beta, so that it is the policy's own frontier of value against
KL (mixing logits between two models at decoding time approximates it: Liu et al. 2024, "Decoding-time realignment of language
models"). A policy that is nearer to the reference than the common KL stays where it is. All sums are over the world's texts;
probability outside them is reported as lost mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from causalopt.backends.contracts import Policy
from causalopt.simulation.contracts import World
from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt
from causalopt.typing import Float64

COMMON_KL = 0.25
"""Nats from the reference at which methods are compared."""
FRONTIER = (0.025, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0)
"""Nats at which the frontier is written down."""


@dataclass(frozen=True)
class Point:
    """A policy on the path: its KL, its value, and the largest value at that KL."""

    kl: float
    value: float
    best: float


class Grader:
    """Knows the world's g and the reference's log-probabilities, and grades any number of policies.

    Parameters
    ----------
    world:
        Lists its texts; without prompts.
    reference:
        From which KL is measured.
    """

    def __init__(self, world: World, reference: Policy) -> None:
        self.texts = world.texts
        self.g = world.true_dose_response(world.texts)
        self.log_reference, self.mass_reference = self._conditional(reference)
        self.value_reference = self._value(self.log_reference)

    def grade(self, policy: Policy) -> tuple[dict[str, float], list[Point]]:
        """Return the numbers of a policy, outcome units and nats, and its frontier up to its own KL."""
        log_policy, mass = self._conditional(policy)
        own, common = self._at(log_policy, 1.0), self.at_kl(log_policy, COMMON_KL)
        frontier = [self.at_kl(log_policy, kl) for kl in FRONTIER if kl < own.kl]
        numbers = {
            "value_reference": self.value_reference,
            "mass_reference": self.mass_reference,
            "mass": mass,
            **self._numbers(own, ""),
            **self._numbers(common, "_common"),
        }
        return numbers, [*frontier, own]

    def at_kl(self, log_policy: Float64, kl: float) -> Point:
        """Return the point of the path at ``kl`` nats, or its end where that is nearer."""
        if self._at(log_policy, 1.0).kl <= kl:
            return self._at(log_policy, 1.0)
        return self._at(log_policy, brentq(lambda a: self._at(log_policy, a).kl - kl, 0.0, 1.0, xtol=1e-10))

    def _at(self, log_policy: Float64, share: float) -> Point:
        mixed = (1 - share) * self.log_reference + share * log_policy
        mixed = mixed - logsumexp(mixed)
        kl = max(kl_divergence(mixed, self.log_reference), 0.0)
        best = tilt(self.log_reference, self.g, temperature_at(self.log_reference, self.g, kl))
        return Point(kl, self._value(mixed), self._value(best))

    def _numbers(self, point: Point, suffix: str) -> dict[str, float]:
        gain, possible = point.value - self.value_reference, point.best - self.value_reference
        return {
            f"kl{suffix}": point.kl,
            f"value{suffix}": point.value,
            f"best{suffix}": point.best,
            f"gain{suffix}": gain,
            f"gain_share{suffix}": gain / possible if possible > 0 else 0.0,
        }

    def _conditional(self, policy: Policy) -> tuple[Float64, float]:
        log_prob = np.asarray(policy.log_prob(None, self.texts), dtype=np.float64)
        log_mass = float(logsumexp(log_prob))
        return log_prob - log_mass, float(np.exp(log_mass))

    def _value(self, log_prob: Float64) -> float:
        return float(np.exp(log_prob) @ self.g)
