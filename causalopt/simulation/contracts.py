"""The interface of a world with known true values, in which a method can be graded exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.typing import Float64


@dataclass(frozen=True)
class TrueValue:
    """The exact value of a policy in a world.

    Attributes
    ----------
    value:
        V(f) in outcome units, conditional on the world's texts (given each prompt, in a world with prompts).
    mass:
        Probability that the policy assigns to the world's texts, in [0, 1].
    """

    value: float
    mass: float


@dataclass(frozen=True)
class SampledValue:
    """A true value that is estimated from draws, and its Monte Carlo standard error, outcome units."""

    value: float
    se: float


@runtime_checkable
class SimulatedWorld(Protocol):
    """A population of readers and texts whose causal effects are known: what all worlds have in common.

    In a world with prompts, ``prompts`` must be given if it is an argument.

    Attributes
    ----------
    prompts:
        The distinct prompts; None in a world without prompts.
    """

    prompts: list[str] | None

    def sample(self, n: int, seed: int) -> DirectOutcomeDataset:
        """Draw ``n`` rows: a reader, the text shown to this reader, and the outcome."""
        ...

    def true_dose_response(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Float64:
        """g(c, x) = E[Y(x) | c] of each text, shape [k]; a text whose effect is not known raises `DataError`."""
        ...

    def true_stabilized_weight(
        self, texts: Sequence[str], covariates: pd.DataFrame, prompts: Sequence[str] | None = None
    ) -> Float64:
        """s(x_i, w_i) = q(x_i | c_i) / p(x_i | c_i, w_i) given the covariates of a data set, shape [n]."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return the world's name and every dial, for manifests and tables."""
        ...


@runtime_checkable
class World(SimulatedWorld, Protocol):
    """A world whose texts are listed, so that true values are exact.

    Values are in outcome units, log-probabilities and KL in nats. All quantities of a policy are conditional on the
    world's own texts; `true_value` also returns the policy's probability of these texts.

    In a world with prompts every text may answer every prompt. A policy must then provide log P(x | c), and
    expectations are also over the world's own distribution of prompts.

    Attributes
    ----------
    texts:
        The distinct texts whose outcomes are known.
    """

    texts: list[str]

    def true_value(self, policy: Policy) -> TrueValue:
        """V(f), exactly."""
        ...

    def best_value(self, reference: Policy, kl: float) -> float:
        """Return the largest value of any policy within ``kl`` nats of the reference (E_c KL, with prompts)."""
        ...

    def kl(self, policy: Policy, reference: Policy) -> float:
        """Exact KL(policy || reference), nats; its mean over the prompts if there are prompts."""
        ...


@runtime_checkable
class OpenWorld(SimulatedWorld, Protocol):
    """A world that knows the effect of any text, and whose texts cannot be listed.

    The value of a policy is the mean of g(c, x) over texts drawn from it.
    """

    def sampled_value(self, policy: Policy) -> SampledValue:
        """V(f) of all texts that the policy draws, with the Monte Carlo standard error of the draws."""
        ...


@runtime_checkable
class TwoSampleWorld(World, Protocol):
    """A world with a second data set, to which the outcome model may be fitted (``outcome_data``)."""

    def sample_outcome_data(self, n: int, seed: int) -> DirectOutcomeDataset:
        """Draw ``n`` rows of the second data set, independent of those of `sample`."""
        ...


@runtime_checkable
class AnyTextWorld(World, Protocol):
    """A world without prompts that also knows the effect of any other text.

    All texts of a language model then have a true value, see `causalopt.simulation.value_of_all_texts`; `true_value`
    and the other sums remain conditional on the world's texts.
    """

    def true_dose_response_of_any(self, texts: Sequence[str]) -> Float64:
        """g(x) = E[Y(x)] of any texts, shape [k]; for the world's own texts it is `true_dose_response`."""
        ...
