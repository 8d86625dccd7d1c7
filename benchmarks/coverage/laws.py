"""A law of texts, readers and responses, from which rows are drawn and the truth is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, log_softmax

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.typing import Array, Float64, Int64

POPULATION = 5_000
"""Readers over whom the truth is a mean; what they differ in cancels in a difference, but for their heterogeneity."""

CHUNK = 1000
"""Texts whose m is computed at a time."""

Matrix = Callable[[pd.DataFrame], Float64]
"""A function of n readers with an entry for each of the k texts, shape [n, k]."""


@dataclass(frozen=True, eq=False)
class Law:
    """How a table comes about: a reader arrives, is shown one of k texts, and responds.

    Attributes
    ----------
    texts:
        k texts.
    readers:
        Draws n readers: a frame with covariates, perhaps a ``prompt``, and whatever else the other functions use.
    log_odds:
        Log-odds with which each reader is shown each text: log p(x | c, w) up to a constant for each row.
    mean:
        m(c, x, w) = E[Y | c, x, w], outcome units.
    score:
        What an optimiser might find: the worth of each text to the average reader, with errors. The policies that a
        benchmark builds are the reference tilted by it.
    respond:
        Draws outcomes from their means, shape [n], for readers.
    covariates:
        Columns that the analyst sees.
    roles:
        Other columns that the analyst sees, by role.
    direction:
        Whether larger or smaller outcomes are better.
    response:
        Log-odds with which each reader responds to each text; None if all do.
    elsewhere:
        m of other texts than the law's, such as a language model may write: a function of m texts that returns a
        function of readers, shape [n, m]. None if the law knows no others.
    bandit:
        Chooses texts for readers, one after another, by earlier outcomes: texts and log-probabilities of all texts at
        the time of each choice. None shows texts by ``log_odds``.
    """

    texts: list[str]
    readers: Callable[[int, np.random.Generator], pd.DataFrame]
    log_odds: Matrix
    mean: Matrix
    score: Matrix
    respond: Callable[[Float64, pd.DataFrame, np.random.Generator], Float64]
    covariates: tuple[str, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    direction: Literal["maximize", "minimize"] = "maximize"
    response: Matrix | None = None
    elsewhere: Callable[[list[str]], Matrix] | None = None
    bandit: Callable[[Law, pd.DataFrame, np.random.Generator], Sample] | None = None

    def log_shown(self, readers: pd.DataFrame) -> Float64:
        """log p(x | c, w), shape [n, k], nats."""
        return np.asarray(log_softmax(self.log_odds(readers), axis=1))

    def sample(self, n: int, rng: np.random.Generator) -> Sample:
        """Draw n rows."""
        readers = self.readers(n, rng)
        if self.bandit is not None:
            return self.bandit(self, readers, rng)
        log_shown = self.log_shown(readers)
        text = np.argmax(log_shown + rng.gumbel(size=log_shown.shape), axis=1)  # the Gumbel trick draws from each row
        of_row = np.arange(len(readers)), text
        outcome = self.respond(self.mean(readers)[of_row], readers, rng)
        if self.response is None:
            return Sample(readers, text, outcome, log_shown, np.ones(len(readers)), np.ones(len(readers), dtype=bool))
        responds = expit(self.response(readers)[of_row])
        return Sample(readers, text, outcome, log_shown, responds, rng.random(len(readers)) < responds)


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a law.

    Attributes
    ----------
    readers:
        A frame of n readers.
    text:
        Position of the text that each was shown, shape [n].
    outcome:
        Shape [n]; the analyst does not see those of readers who do not respond.
    log_shown:
        log p(x | c, w) of all texts at the time of each choice, shape [n, k], nats.
    responds, observed:
        The probability that each reader responds, and whether they do, shape [n].
    """

    readers: pd.DataFrame
    text: Int64
    outcome: Float64
    log_shown: Float64
    responds: Float64
    observed: Array

    def __getitem__(self, row: Int64) -> Sample:
        return Sample(
            self.readers.iloc[row].reset_index(drop=True),
            self.text[row],
            self.outcome[row],
            self.log_shown[row],
            self.responds[row],
            self.observed[row],
        )

    def table(self, law: Law) -> pd.DataFrame:
        """Return the rows as an analyst gets them."""
        seen = self.readers[[*law.covariates, *law.roles.values()]]
        outcome = np.where(self.observed, self.outcome, np.nan)
        return seen.assign(text=[law.texts[i] for i in self.text], outcome=outcome)


class Population:
    """A large population of a law's readers, over which values are exact means."""

    def __init__(self, law: Law, seed: int) -> None:
        self.readers = law.readers(POPULATION, np.random.default_rng([seed, 1]))
        self.mean = law.mean(self.readers)
        shown = pd.DataFrame(np.exp(law.log_shown(self.readers)))
        self._by_prompt = "prompt" in self.readers
        key = self.readers["prompt"] if self._by_prompt else np.zeros(len(shown))
        self._shown = shown.groupby(np.asarray(key)).mean()
        self._law = law
        # A policy sees the prompt alone: without prompts, one reader stands for all of them.
        self._seen = self.readers if self._by_prompt else self.readers[:1]
        self._worth = self.mean if self._by_prompt else self.mean.mean(axis=0, keepdims=True)

    def logged(self, readers: pd.DataFrame) -> Float64:
        """log p(x | c) of the logged texts, shape [n, k], nats; for a prompt that is asked once p(x | c, w)."""
        if not self._by_prompt:
            return np.tile(np.log(self._shown.to_numpy()), (len(readers), 1))
        own = self._shown.reindex(readers["prompt"]).to_numpy()
        return np.where(np.isnan(own), self._law.log_shown(readers), np.log(own))

    def difference(self, policy: Matrix, reference: Matrix) -> float:
        """V(policy) - V(reference), outcome units."""
        change = np.exp(policy(self._seen)) - np.exp(reference(self._seen))
        return float(np.sum(change * self._worth) / len(change))

    def value_of(self, texts: list[str]) -> float:
        """Mean over readers of m of any texts, for texts drawn from a policy: its value up to their sampling error."""
        assert self._law.elsewhere is not None
        parts = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        return float(sum(self._law.elsewhere(part)(self.readers).mean(axis=0).sum() for part in parts) / len(texts))

    def kl(self, policy: Matrix, reference: Matrix) -> float:
        """KL(policy || reference), nats, the mean over prompts."""
        return _kl(policy(self._seen), reference(self._seen))

    def tilted(self, reference: Matrix, score: Matrix, kl: float) -> Matrix:
        """Return the reference tilted by exp(a score), with a for which its KL to the reference is ``kl`` nats."""
        log_q, scores = reference(self._seen), score(self._seen)

        def excess(size: float) -> float:
            return _kl(np.asarray(log_softmax(log_q + size * scores, axis=1)), log_q) - kl

        spread = float(np.std(scores[:1]))
        size = brentq(excess, 0.0, 50 / spread, xtol=1e-6 / spread)
        return lambda readers: np.asarray(log_softmax(reference(readers) + size * score(readers), axis=1))

    def without_gain(self, reference: Matrix, one: Matrix, other: Matrix) -> Matrix:
        """Return the mixture of two policies, of which one gains and the other loses, that gains nothing."""
        gain, loss = self.difference(one, reference), self.difference(other, reference)
        share = loss / (loss - gain)
        return lambda readers: np.asarray(np.log(share * np.exp(one(readers)) + (1 - share) * np.exp(other(readers))))


def _kl(log_p: Float64, log_q: Float64) -> float:
    return float(np.sum(np.exp(log_p) * (log_p - log_q)) / len(log_p))


def finite_policy(law: Law, policy: Matrix, readers: pd.DataFrame) -> FinitePolicy:
    """Return a policy over the law's texts for the prompts of these readers."""
    if "prompt" not in readers:
        log_prob, prompts = policy(readers[:1]), None
    else:
        first = readers.drop_duplicates("prompt")
        log_prob, prompts = policy(first), first["prompt"].tolist()
    return FinitePolicy(law.texts, log_prob.ravel(), np.zeros((log_prob.size, 1)), np.zeros(1), prompts)


def matrix_of(policy: Any, law: Law) -> Matrix:
    """Return a policy over known texts as a function of readers."""

    def log_prob(readers: pd.DataFrame) -> Float64:
        if "prompt" not in readers:
            texts, found = policy.distribution(None)
            found = np.tile(found, (len(readers), 1))
        else:
            prompt, distinct = pd.factorize(readers["prompt"])
            texts, found = policy.distribution(list(distinct))
            found = found[prompt]
        position = {text: j for j, text in enumerate(texts)}
        return np.asarray(found[:, [position[text] for text in law.texts]])

    return log_prob
