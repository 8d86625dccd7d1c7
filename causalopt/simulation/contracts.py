"""What a world of known truth must offer, so that a method can be graded without an estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.dataset import DirectOutcomeDataset
from causalopt.typing import Float64


@dataclass(frozen=True)
class TrueValue:
    """The exact value of a policy in a world.

    Attributes
    ----------
    value:
        V(f) in outcome units, conditional on the world's texts.
    mass:
        Probability that the policy gives to the world's texts, in [0, 1]; the rest are texts of no known outcome.
    """

    value: float
    mass: float


@runtime_checkable
class World(Protocol):
    """A population of readers and texts whose causal effects are known exactly.

    Values are in outcome units, log-probabilities and KL in nats. Everything that concerns a policy is conditional on
    the world's own texts; `true_value` says how much of the policy lies outside them.
    """

    texts: list[str]

    def sample(self, n: int, seed: int) -> DirectOutcomeDataset:
        """Draw ``n`` rows: a reader, the text this reader was shown, and the outcome."""
        ...

    def true_dose_response(self, texts: Sequence[str]) -> Float64:
        """g(x) = E[Y(x)] of each text, shape [k]; a text that is not the world's raises `DataError`."""
        ...

    def true_stabilized_weight(self, texts: Sequence[str], covariates: pd.DataFrame) -> Float64:
        """s(x_i, w_i) = q(x_i) / p(x_i | w_i) given the covariates that a data set shows, shape [n]."""
        ...

    def true_value(self, policy: Policy) -> TrueValue:
        """V(f), exactly."""
        ...

    def best_value(self, reference: Policy, kl: float) -> float:
        """Return the largest value of any policy within ``kl`` nats of the reference."""
        ...

    def kl(self, policy: Policy, reference: Policy) -> float:
        """KL(policy || reference), exactly, nats."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return the world's name and every dial, for manifests and tables."""
        ...
