"""Assignment of texts: readers who respond most are shown the least effective ones; with thin overlap by age too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from causalopt.simulation.population import Population
from causalopt.typing import Float64

SHARPNESS = 0.7
"""Log-odds of assignment for one standard deviation of engagement times one of the score, at confounding 1."""
TARGETING = 1.2
"""The same for age and taste, as overlap approaches 0."""


@dataclass(frozen=True)
class Targeting:
    """p(x | w) proportional to p0(x) exp(0.7 * confounding * e * score(x) + 1.2 * (1 - overlap) * age * taste(x)).

    e is the reader's true engagement, age is standardised. The taste is uncorrelated with the score, so that overlap
    changes the weights but not the slope of naive effects.

    Attributes
    ----------
    log_base:
        log p0(x) up to a constant, shape [k], nats.
    score, taste:
        Standardised, shape [k].
    confounding, overlap:
        The dials.
    """

    log_base: Float64
    score: Float64
    taste: Float64
    confounding: float
    overlap: float

    def of(self, population: Population) -> Float64:
        """log p(x | w) of each reader type, shape [r, k], nats."""
        return self._law(population.engagement, population.standardised_age(population.shown))

    def given(self, covariates: pd.DataFrame, population: Population) -> Float64:
        """log p(x | w) given the observed covariates of any readers, shape [n, k], nats."""
        age = population.standardised_age(covariates)
        return population.averaged(covariates, lambda engagement: self._law(engagement, age))

    def _law(self, engagement: Float64, age: Float64) -> Float64:
        by_engagement = SHARPNESS * self.confounding * np.outer(engagement, self.score)
        by_age = TARGETING * (1 - self.overlap) * np.outer(age, self.taste)
        return np.asarray(log_softmax(self.log_base + by_engagement + by_age, axis=1), dtype=np.float64)
