"""A world of sentences composed from slots; readers who respond most are shown the least effective ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from causalopt.simulation.enumerated import EnumeratedWorld, check_dial, standardised
from causalopt.simulation.population import draw_readers
from causalopt.simulation.sentence_effects import LEVEL, draw_effects
from causalopt.simulation.targeting import Targeting
from causalopt.typing import Float64


class TemplateWorld(EnumeratedWorld):
    """1,800 sentences, a finite reader population, and an assignment that can reverse the sign of naive effects.

    A reader has an engagement e (mean 0, standard deviation 1), an age and a region. The outcome is ``m(x, w)`` plus
    Gaussian noise, where m adds the effects of the sentence's phrases, an interaction of appeal and tone, a large
    effect of engagement, small ones of age and region, and an interaction of engagement with the ask. A reader is
    shown sentence x with probability

        p(x | w) proportional to p0(x) exp(0.7 * confounding * e * a(x) + 1.2 * (1 - overlap) * age * b(x)),

    where a(x) is minus the sentence's standardised effect: those who respond most are shown the least effective
    sentences, and at ``confounding`` 1 the mean outcome of a sentence decreases in its effect. Age (standardised) is
    multiplied by a taste score b(x) that is uncorrelated with the effect: it reduces overlap and leaves the naive slope
    unchanged. All sums over sentences and readers are exact.

    Parameters
    ----------
    confounding:
        0 is a randomised experiment (at overlap 1); near 0.65 naive effects vanish, at 1 they have the wrong sign.
    overlap:
        In (0, 1]: at 1, age does not affect which text is shown; smaller values give more extreme weights.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    heterogeneity:
        Standard deviation of the interaction of a reader's engagement and the ask, outcome units.
    interaction:
        Standard deviation of the interaction of appeal and tone, outcome units, which a model that is additive in the
        phrases misses.
    unmeasured:
        Share of the variance of engagement that is hidden from the data set, in [0, 1].
    readers:
        Number of reader types.
    seed:
        Seed of the population, of the phrases' effects, and of the preferences for them.

    Raises
    ------
    ConfigError
        If a dial is out of its range.

    Examples
    --------
    >>> from causalopt.simulation import TemplateWorld
    >>> world = TemplateWorld(confounding=1.0, seed=0)
    >>> data = world.sample(200, seed=1)
    >>> len(data), list(data.covariates.columns)
    (200, ['engagement', 'age', 'region'])
    >>> world.true_dose_response(data.texts).shape
    (200,)
    """

    def __init__(
        self,
        *,
        confounding: float = 1.0,
        overlap: float = 1.0,
        noise: float = 1.0,
        heterogeneity: float = 0.2,
        interaction: float = 0.1,
        unmeasured: float = 0.0,
        readers: int = 400,
        seed: int = 0,
    ) -> None:
        check_dial("template", "confounding", confounding, 0)
        check_dial("template", "overlap", overlap, 0.05, 1)
        check_dial("template", "noise", noise, 0)
        check_dial("template", "heterogeneity", heterogeneity, 0)
        check_dial("template", "interaction", interaction, 0)
        check_dial("template", "unmeasured", unmeasured, 0, 1)
        check_dial("template", "readers", readers, 2)
        rng = np.random.default_rng([seed, 0])
        self._effects = effects = draw_effects(interaction, rng)
        self._heterogeneity = heterogeneity
        self._targeting = Targeting(
            effects.preference,
            -standardised(effects.of(effects.texts).additive),
            effects.taste(np.random.default_rng([seed, 1])),
            confounding,
            overlap,
        )
        self._population = draw_readers(readers, unmeasured, rng)
        super().__init__(
            texts=effects.texts,
            readers=self._population.shown,
            log_assignment=self._targeting.of(self._population),
            outcome_mean=self._outcome_mean(effects.texts),
            noise=noise,
            settings={
                "name": "template",
                "confounding": confounding,
                "overlap": overlap,
                "noise": noise,
                "heterogeneity": heterogeneity,
                "interaction": interaction,
                "unmeasured": unmeasured,
                "readers": readers,
                "seed": seed,
            },
        )

    def true_dose_response_of_any(self, texts: Sequence[str]) -> Float64:
        """g(x) of any texts, sentences of the world or not, shape [n]: see `SentenceEffects.of`."""
        return np.asarray(self._outcome_mean(texts).mean(axis=0))

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        return self._targeting.given(covariates, self._population)

    def _outcome_mean(self, texts: Sequence[str]) -> Float64:
        """m(x, w) of any texts, shape [r, n], outcome units."""
        effects = self._effects.of(texts)
        return np.asarray(
            LEVEL
            + effects.total
            + self._population.effect[:, None]
            + self._heterogeneity * np.outer(self._population.engagement, effects.score["ask"])
        )
