"""The readers that the worlds share: a confounding engagement, which may be partly hidden, an age and a region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from causalopt.simulation.enumerated import standardised
from causalopt.typing import Float64

ENGAGEMENT_EFFECT = 2.0
"""Effect of one standard deviation of engagement, outcome units, whatever the reader is shown: the confounding."""
AGE_EFFECT = 0.3
"""Effect of 18 years of age, outcome units."""
REGION_EFFECT = {"coast": 0.3, "hills": 0.0, "valley": -0.3}


@dataclass(frozen=True)
class Population:
    """r reader types, equally frequent.

    True engagement is sqrt(1 - u) times the observed one plus sqrt(u) times a hidden fair coin, where u is the
    unmeasured share: its variance is one for every u.

    Attributes
    ----------
    shown:
        Observed covariates of each type: engagement, age, region; r rows, equal for types that differ in the coin.
    engagement:
        True engagement, shape [r], mean 0 and standard deviation 1.
    unmeasured:
        u, in [0, 1].
    """

    shown: pd.DataFrame
    engagement: Float64
    unmeasured: float

    @property
    def effect(self) -> Float64:
        """Effect of the reader on an outcome, whatever the text, shape [r], outcome units."""
        region = self.shown["region"].map(REGION_EFFECT).to_numpy(dtype=np.float64)
        age = (self.shown["age"].to_numpy(dtype=np.float64) - 49) / 18
        return np.asarray(ENGAGEMENT_EFFECT * self.engagement + AGE_EFFECT * age + region)

    def standardised_age(self, covariates: pd.DataFrame) -> Float64:
        """Age of any readers, on the scale where the types have mean 0 and standard deviation 1, shape [n]."""
        age = self.shown["age"].to_numpy(dtype=np.float64)
        return np.asarray((covariates["age"].to_numpy(dtype=np.float64) - age.mean()) / max(age.std(), 1e-9))

    def averaged(self, covariates: pd.DataFrame, law: Callable[[Float64], Float64]) -> Float64:
        """Average the probabilities of readers with these covariates over the coin: log-probabilities [n, k].

        ``law`` takes true engagement [n] and returns log-probabilities [n, k].
        """
        shown = covariates["engagement"].to_numpy(dtype=np.float64)
        each = [law(_engagement(shown, level, self.unmeasured)) for level in _levels(self.unmeasured)]
        return np.asarray(logsumexp(each, axis=0) - np.log(len(each)), dtype=np.float64)


def draw_readers(count: int, unmeasured: float, rng: np.random.Generator) -> Population:
    """Draw ``count`` readers (twice as many types if engagement is partly hidden).

    Engagement is uniform (bounded, so that true weights are) and independent of age and region.
    """
    shown = pd.DataFrame(
        {
            "engagement": rng.permutation(standardised(np.linspace(-1, 1, count))),
            "age": rng.integers(18, 81, size=count),
            "region": rng.choice(list(REGION_EFFECT), size=count),
        }
    )
    levels = _levels(unmeasured)
    repeated = pd.concat([shown] * len(levels), ignore_index=True)
    engagement = _engagement(repeated["engagement"].to_numpy(dtype=np.float64), np.repeat(levels, count), unmeasured)
    return Population(repeated, engagement, unmeasured)


def _levels(unmeasured: float) -> tuple[float, ...]:
    return (0.0,) if unmeasured == 0 else (-1.0, 1.0)


def _engagement(shown: Float64, hidden: float | Float64, unmeasured: float) -> Float64:
    return np.asarray(np.sqrt(1 - unmeasured) * shown + np.sqrt(unmeasured) * hidden)
