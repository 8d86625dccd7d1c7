"""Sentences composed from slots, and readers who are shown the appeals that work worst when they respond most."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from causalopt.errors import ConfigError
from causalopt.simulation.enumerated import EnumeratedWorld, check_dial
from causalopt.simulation.grammar import SLOTS, sentences
from causalopt.typing import Float64

LEVEL = 5.0
"""Mean outcome, on a scale that is roughly 0 to 10."""
SLOT_EFFECT = {"greeting": 0.10, "appeal": 0.60, "evidence": 0.35, "ask": 0.25, "tone": 0.15}
"""Standard deviation of each slot's effect over its phrases, outcome units."""
ENGAGEMENT_EFFECT = 2.0
"""Outcome units for one standard deviation of engagement, whatever the reader is shown: what confounds."""
AGE_EFFECT = 0.3
"""Outcome units for 18 years of age."""
REGION_EFFECT = {"coast": 0.3, "hills": 0.0, "valley": -0.3}
PREFERENCE = 0.25
"""Standard deviation of the log-odds with which writers prefer one phrase of a slot to another."""
SHARPNESS = 0.7
"""Log-odds of assignment for one standard deviation of engagement times one of the text's score, at dials of one."""


class TemplateWorld(EnumeratedWorld):
    """1,800 sentences, a finite reader population, and an assignment that can reverse the sign of naive effects.

    A reader has an engagement, an age and a region. The outcome is ``m(x, w)`` plus Gaussian noise, where m adds the
    effects of the sentence's phrases, an interaction of appeal and tone, a large effect of engagement, small ones of
    age and region, and an interaction of engagement with the ask. A reader with engagement e (mean 0, standard
    deviation 1) is shown sentence x with probability

        p(x | w) proportional to p0(x) exp(0.7 * confounding / overlap * e * a(x)),

    where a(x) is minus the sentence's standardised effect: those who respond most are shown what works worst, and at
    ``confounding`` 1 the mean outcome of a sentence falls as its effect rises. All sums over sentences and readers are
    exact.

    Parameters
    ----------
    confounding:
        0 is a randomised experiment; near 0.65 naive effects vanish, at 1 they have the wrong sign.
    overlap:
        In (0, 1]: divides the assignment's exponent, so that smaller means more extreme weights.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    heterogeneity:
        Standard deviation of the effect that a reader's engagement and the ask have together, outcome units.
    interaction:
        Standard deviation of the effect that appeal and tone have together, outcome units: what a model additive in
        the phrases misses.
    unmeasured:
        Share of the variance of engagement that the data set does not show, in [0, 1].
    readers:
        Number of reader types.
    seed:
        Draws the population, which phrases work, and which are preferred.

    Raises
    ------
    ConfigError
        When a dial is out of its range.

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
        if readers < 2:
            raise ConfigError(f"template world: readers must be at least 2, not {readers}")
        rng = np.random.default_rng([seed, 0])
        texts, phrase = sentences()
        scores = {
            slot: rng.permutation(_standardised(np.linspace(-1, 1, len(phrases))))[phrase[:, j]]
            for j, (slot, phrases) in enumerate(SLOTS.items())
        }
        additive = sum((SLOT_EFFECT[slot] * score for slot, score in scores.items()), np.zeros(len(texts)))
        preference = sum(
            (rng.normal(0, PREFERENCE, len(phrases))[phrase[:, j]] for j, phrases in enumerate(SLOTS.values())),
            np.zeros(len(texts)),
        )
        self._log_base = preference
        self._assignment_score = -_standardised(additive)
        self._strength = SHARPNESS * confounding / overlap
        self._unmeasured = unmeasured

        shown = _draw_readers(readers, rng)
        hidden_levels = (0.0,) if unmeasured == 0 else (-1.0, 1.0)
        population = pd.concat([shown] * len(hidden_levels), ignore_index=True)
        engagement = self._engagement(population, np.repeat(hidden_levels, readers))
        text_effect = additive + interaction * scores["appeal"] * scores["tone"]
        reader_effect = (
            ENGAGEMENT_EFFECT * engagement
            + AGE_EFFECT * (population["age"].to_numpy(dtype=np.float64) - 49) / 18
            + population["region"].map(REGION_EFFECT).to_numpy(dtype=np.float64)
        )
        super().__init__(
            texts=texts,
            readers=population,
            log_assignment=self._log_assignment(engagement),
            outcome_mean=(
                LEVEL + text_effect + reader_effect[:, None] + heterogeneity * np.outer(engagement, scores["ask"])
            ),
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

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        if self._unmeasured == 0:
            return self._log_assignment(self._engagement(covariates, 0.0))
        both = [self._log_assignment(self._engagement(covariates, hidden)) for hidden in (-1.0, 1.0)]
        return np.asarray(np.logaddexp(both[0], both[1]) - np.log(2), dtype=np.float64)

    def _engagement(self, covariates: pd.DataFrame, hidden: float | Float64) -> Float64:
        """Return true engagement: the shown part and a fair coin in the shares of ``unmeasured``; variance one."""
        shown = covariates["engagement"].to_numpy(dtype=np.float64)
        return np.asarray(np.sqrt(1 - self._unmeasured) * shown + np.sqrt(self._unmeasured) * hidden)

    def _log_assignment(self, engagement: Float64) -> Float64:
        logits = self._log_base + self._strength * np.outer(engagement, self._assignment_score)
        return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True), dtype=np.float64)


def _draw_readers(count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Engagement uniform (bounded, so that the true weights are), independent of age and region."""
    return pd.DataFrame(
        {
            "engagement": rng.permutation(_standardised(np.linspace(-1, 1, count))),
            "age": rng.integers(18, 81, size=count),
            "region": rng.choice(list(REGION_EFFECT), size=count),
        }
    )


def _standardised(values: Float64) -> Float64:
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float64)
