"""Logged traffic of a deployed model: its log-probabilities are known, and readers choose which answers they rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.simulation.enumerated import EnumeratedWorld, check_dial, standardised
from causalopt.simulation.phrase_model import PhraseModel
from causalopt.simulation.population import draw_readers
from causalopt.typing import Float64

PROMPTS = (
    "Where is my parcel?",
    "How do I return a lamp?",
    "My invoice looks wrong.",
    "Can I change my address?",
    "The app does not start.",
    "Do you ship abroad?",
)
SLOTS: dict[str, tuple[str, ...]] = {
    "opening": ("Thanks for asking:", "Sorry for the trouble:", "Good question:", "Happy to help:"),
    "body": (
        "your account page shows it,",
        "our team looks at it today,",
        "the guide explains each step,",
        "please send us the number,",
        "one click settles it,",
    ),
    "step": (
        "we write back by noon.",
        "nothing more is needed.",
        "you can follow it there.",
        "the fee is waived.",
    ),
    "closing": ("Have a good day.", "Anything else?", "Tell us how it went."),
}
LEVEL = 5.0
"""Mean rating around which the effects are centred, outcome units."""
SLOT_EFFECT = {"opening": 0.15, "body": 0.35, "step": 0.25, "closing": 0.10}
"""Standard deviation of each slot's effect over its phrases, outcome units."""
PROMPT_EFFECT = 0.5
"""Standard deviation of the prompts' effects, outcome units."""
LOGIT = 0.4
"""Standard deviation of the deployed model's logits at temperature 1, nats."""
STEEPNESS = 1.5
"""Rate at which the willingness to rate saturates in the answer's standardised effect."""
STRONGEST = 0.9
"""Largest relative change of the willingness to rate, at confounding 1: true weights are at most 10."""


class LoggedTrafficWorld(EnumeratedWorld):
    """Six prompts, 240 answers to each, a known language model that wrote them, and readers who choose what they rate.

    The deployed model is a Markov chain over phrases (`PhraseModel`), and the log-probability of each answer is logged:
    ``behavior_log_prob`` is in every sample. A prompt does not depend on the reader. A reader who gets answer x to
    prompt c rates it with probability

        P(rated | c, x, w) = rate * (1 + kappa * e * b_c(x)),    kappa = confounding * 0.9 / max |e|,

    where e is the reader's engagement and b_c, in [-1, 1] and of mean zero under the model given c, decreases in the
    answer's effect: engaged readers, whose ratings are high whatever they read, tend to rate the poor answers, others
    the good ones. Among the rated rows therefore p(x | c, w) = q(x | c) (1 + kappa e b_c(x)). Because e and b_c have
    mean zero, the rate does not depend on the reader nor, over all readers, on the answer: raters are like all readers,
    the logged log-probabilities are those of the rated rows, and only the dependence is misleading. The rating is

        m(c, x, w) = 5 + prompt effect + phrase effects + interaction (prompt, body) + 2 e
                     + (small effects of age and region) + heterogeneity * e * (score of the opening)

    plus Gaussian noise. V(f) = sum over c of P(c) sum over x of f(x | c) g(c, x) is a finite sum.

    Parameters
    ----------
    confounding:
        In [0, 1]. At 0 answers are rated at random; at 1 an answer's mean rating decreases in its effect.
    temperature:
        Temperature of the deployed model: a smaller one concentrates it on fewer answers, so that fewer others can be
        evaluated.
    noise:
        Standard deviation of a rating about its mean, outcome units.
    heterogeneity:
        Standard deviation of the interaction of engagement and opening, outcome units.
    interaction:
        Standard deviation of the interaction of prompt and body, outcome units: the best body differs between prompts.
    unmeasured:
        Share of the variance of engagement that is hidden from the data set, in [0, 1].
    readers:
        Number of reader types.
    seed:
        Seed of readers, effects and the model.

    Attributes
    ----------
    language_model:
        The deployed model, a policy.

    Raises
    ------
    ConfigError
        If a dial is out of its range.

    Examples
    --------
    >>> from causalopt.simulation import LoggedTrafficWorld
    >>> world = LoggedTrafficWorld(seed=0)
    >>> data = world.sample(100, seed=1)
    >>> data.prompts is not None, data.behavior_log_prob.shape
    (True, (100,))
    >>> round(world.true_value(world.language_model).mass, 9)
    1.0
    """

    def __init__(
        self,
        *,
        confounding: float = 1.0,
        temperature: float = 1.0,
        noise: float = 1.0,
        heterogeneity: float = 0.2,
        interaction: float = 0.2,
        unmeasured: float = 0.0,
        readers: int = 100,
        seed: int = 0,
    ) -> None:
        for name, value, low, high in (
            ("confounding", confounding, 0, 1),
            ("temperature", temperature, 0.05, np.inf),
            ("noise", noise, 0, np.inf),
            ("heterogeneity", heterogeneity, 0, np.inf),
            ("interaction", interaction, 0, np.inf),
            ("unmeasured", unmeasured, 0, 1),
            ("readers", readers, 2, np.inf),
        ):
            check_dial("logged-traffic", name, value, low, high)
        rng = np.random.default_rng([seed, 0])
        self.language_model = _draw_model(temperature, rng)
        score = {
            slot: rng.permutation(standardised(np.linspace(-1, 1, len(phrases))))[self.language_model.phrase[:, j]]
            for j, (slot, phrases) in enumerate(SLOTS.items())
        }
        additive = sum((SLOT_EFFECT[slot] * score[slot] for slot in SLOTS), np.zeros(len(self.language_model.texts)))
        effect = additive + interaction * _interaction(rng)[:, self.language_model.phrase[:, list(SLOTS).index("body")]]
        prompt_effect = PROMPT_EFFECT * rng.permutation(standardised(np.linspace(-1, 1, len(PROMPTS))))
        self._population = draw_readers(readers, unmeasured, rng)
        engagement = self._population.engagement
        self._kappa = confounding * STRONGEST / np.abs(engagement).max()
        self._willingness = _willingness(effect, self.language_model.log_prob_table).ravel()
        # Some questions are more frequent than others.
        log_prompt = np.log(1 / np.arange(1, len(PROMPTS) + 1))
        log_prompt -= np.log(np.exp(log_prompt).sum())
        self._log_model: Float64 = (log_prompt[:, None] + self.language_model.log_prob_table).ravel()
        super().__init__(
            texts=self.language_model.texts,
            readers=self._population.shown,
            log_assignment=self._log_assignment(engagement),
            outcome_mean=(
                LEVEL
                + (prompt_effect[:, None] + effect).ravel()
                + self._population.effect[:, None]
                + heterogeneity * np.outer(engagement, np.tile(score["opening"], len(PROMPTS)))
            ),
            noise=noise,
            settings={
                "name": "logged-traffic",
                "confounding": confounding,
                "temperature": temperature,
                "noise": noise,
                "heterogeneity": heterogeneity,
                "interaction": interaction,
                "unmeasured": unmeasured,
                "readers": readers,
                "seed": seed,
            },
            prompts=PROMPTS,
            log_prompt=log_prompt,
        )

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        return self._population.averaged(covariates, self._log_assignment)

    def sample_frame(self, n: int, seed: int, *, logged: bool = False) -> pd.DataFrame:
        """Draw ``n`` rated rows with the model's log-probability, and if ``logged`` with the assignment's as well.

        A real system of this kind does not know the latter.
        """
        frame = super().sample_frame(n, seed, logged=True)
        return frame if logged else frame.drop(columns="assignment_log_prob")

    def _log_assignment(self, engagement: Float64) -> Float64:
        willing = self._kappa * np.outer(engagement, self._willingness)
        if (willing <= -1).any():
            raise DataError(
                "logged-traffic world: a reader's engagement lies outside the world's population, where the "
                "probability of a rating would be negative"
            )
        return np.asarray(self._log_model + np.log1p(willing), dtype=np.float64)


def _draw_model(temperature: float, rng: np.random.Generator) -> PhraseModel:
    sizes = [len(phrases) for phrases in SLOTS.values()]
    logits = [
        LOGIT / temperature * rng.standard_normal((len(PROMPTS), before, size))
        for before, size in zip([1, *sizes], sizes, strict=False)
    ]
    return PhraseModel(PROMPTS, SLOTS, logits)


def _interaction(rng: np.random.Generator) -> Float64:
    """Draw scores of prompt and body with mean zero over each and standard deviation 1, shape [C, bodies]."""
    drawn = rng.standard_normal((len(PROMPTS), len(SLOTS["body"])))
    return standardised(drawn - drawn.mean(axis=0) - drawn.mean(axis=1, keepdims=True) + drawn.mean())


def _willingness(effect: Float64, log_model: Float64) -> Float64:
    """b_c(x), shape [C, k]: decreases in the effect, has mean zero under the model given c, and lies in [-1, 1]."""
    falling = -np.tanh(STEEPNESS * (effect - effect.mean()) / effect.std())
    centred = falling - (np.exp(log_model) * falling).sum(axis=1, keepdims=True)
    return np.asarray(centred / np.abs(centred).max())
