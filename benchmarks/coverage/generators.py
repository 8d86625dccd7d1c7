"""Laws of texts, readers and responses, each a formula with coefficients that are drawn anew for every table.

All of them start from `pleas`. A plea is a set of words u_1, ..., u_48 in {0, 1}; readers have an age a (standardised),
a log income b, a home c in {0, 1} and a region. With coefficients that are normal unless something else is said,

    worth(x)    = 0.6 tanh(alpha' u) + 0.4 u_j u_k
    m(x, w)     = worth(x) + 0.6 a + 0.3 (a^2 - 1) + 0.4 b + 0.5 c + delta_region + a gamma' u
    log p(x|w)  = popularity(x) + confounding (a beta_1' u + (b + c) beta_2' u + delta_region beta_3' u) + constant
    y           = m(x, w) + 0.8 normal

The others change a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from benchmarks.coverage.laws import Law, Matrix, Sample
from benchmarks.coverage.vocabulary import WORDS, counts, texts
from causalopt.typing import Float64

COVARIATES = ("age", "income", "home", "region")
NOISE = 0.8


def pleas(
    rng: np.random.Generator,
    *,
    count: int = 300,
    own: float = 0.0,
    confounding: float = 1.0,
    regions: int = 5,
) -> Law:
    """The law of the module's docstring; ``own`` is the standard deviation of effects that no word explains."""
    shown = texts(count, rng)
    center = counts(shown).mean(axis=0)
    words = counts(shown) - center
    alpha, gamma = 0.5 * rng.normal(size=len(WORDS)), 0.1 * rng.normal(size=len(WORDS))
    beta = 0.3 * rng.normal(size=(3, len(WORDS)))
    delta = 0.5 * rng.normal(size=regions)
    popularity = 0.6 * rng.normal(size=count)
    effect = own * rng.normal(size=count)
    found = 0.6 * np.tanh(words @ (alpha + 0.25 * rng.normal(size=len(WORDS))))
    frequency = 1 / np.arange(1, regions + 1)

    def readers(n: int, rng: np.random.Generator) -> pd.DataFrame:
        region = rng.choice(regions, n, p=frequency / frequency.sum())
        return pd.DataFrame(
            {
                "age": rng.uniform(18, 90, n).round(),
                "income": np.exp(10 + 0.6 * rng.normal(size=n)).round(-2),
                "home": np.where(rng.random(n) < 0.6, "city", "country"),
                "region": [f"region {k}" for k in region],
                "delta": delta[region],
            }
        )

    def response(u: Float64, effect: Float64, w: pd.DataFrame) -> Float64:
        worth = 0.6 * np.tanh(u @ alpha) + 0.4 * u[:, 0] * u[:, 1] + effect
        a, b, c = _standardized(w)
        level = 0.6 * a + 0.3 * (a**2 - 1) + 0.4 * b + 0.5 * c + w["delta"].to_numpy()
        return np.asarray(worth + level[:, None] + np.outer(a, u @ gamma))

    def mean(w: pd.DataFrame) -> Float64:
        return response(words, effect, w)

    def elsewhere(others: list[str]) -> Matrix:
        u = counts(others) - center
        return lambda w: response(u, np.zeros(len(u)), w)

    def log_odds(w: pd.DataFrame) -> Float64:
        a, b, c = _standardized(w)
        likes = np.column_stack([a, b + c, w["delta"]]) @ (beta @ words.T)
        return np.asarray(popularity + confounding * likes)

    score: Matrix = lambda w: np.tile(found, (len(w), 1))  # noqa: E731
    return Law(shown, readers, log_odds, mean, score, normal, COVARIATES, elsewhere=elsewhere)


def _standardized(w: pd.DataFrame) -> tuple[Float64, Float64, Float64]:
    a = (w["age"].to_numpy() - 54) / 21
    b = (np.log(w["income"].to_numpy() + 50) - 10) / 0.6
    return a, b, (w["home"] == "city").to_numpy().astype(float)


def normal(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
    return np.asarray(mean + NOISE * rng.normal(size=len(mean)))


def sign_reversing(rng: np.random.Generator) -> Law:
    """Readers who respond most are shown what works worst: log p(x|w) = popularity(x) - 1.2 worth(x) level(w)."""
    law = pleas(rng, confounding=0.0)

    def log_odds(w: pd.DataFrame) -> Float64:
        of_all = law.mean(w)
        level, worth = of_all.mean(axis=1, keepdims=True), of_all - of_all.mean(axis=1, keepdims=True)
        return np.asarray(law.log_odds(w) - 1.2 * (level - 0.5) * worth)

    return replace(law, log_odds=log_odds)


def binary(rng: np.random.Generator) -> Law:
    """Y is 1 with probability 1 / (1 + exp(-(1.5 m - 0.5)))."""
    law = pleas(rng)

    def respond(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
        return np.asarray(rng.random(len(mean)) < mean, dtype=np.float64)

    def elsewhere(others: list[str]) -> Matrix:
        assert law.elsewhere is not None
        mean = law.elsewhere(others)
        return lambda w: np.asarray(expit(1.5 * mean(w) - 0.5))

    return replace(law, mean=lambda w: np.asarray(expit(1.5 * law.mean(w) - 0.5)), respond=respond, elsewhere=elsewhere)


def count(rng: np.random.Generator) -> Law:
    """Y is Poisson with mean exp(0.6 m)."""
    law = pleas(rng)

    def respond(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
        return rng.poisson(mean).astype(np.float64)

    return replace(law, mean=lambda w: np.exp(0.6 * law.mean(w)), respond=respond)


def skewed(rng: np.random.Generator) -> Law:
    """Y is log-normal: exp(0.5 m) times a log-normal error of mean one and log standard deviation 0.7."""
    law = pleas(rng)

    def respond(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
        return np.asarray(mean * np.exp(0.7 * rng.normal(size=len(mean)) - 0.245))

    return replace(law, mean=lambda w: np.exp(0.5 * law.mean(w)), respond=respond)


def heavy_tailed(rng: np.random.Generator) -> Law:
    """Errors have Student's t distribution with 3 degrees of freedom."""

    def respond(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
        return np.asarray(mean + 0.6 * rng.standard_t(3, size=len(mean)))

    return replace(pleas(rng), respond=respond)


def exposure(rng: np.random.Generator) -> Law:
    """Y is a mean over some twenty impressions, log-normal in number, so that the error falls with their number."""
    law = pleas(rng)

    def readers(n: int, rng: np.random.Generator) -> pd.DataFrame:
        return law.readers(n, rng).assign(impressions=np.ceil(np.exp(2.5 + 0.8 * rng.normal(size=n))))

    def respond(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
        return np.asarray(mean + 3.0 * rng.normal(size=len(mean)) / np.sqrt(w["impressions"].to_numpy()))

    return replace(law, readers=readers, respond=respond, roles={"weight": "impressions"})


def panel(rng: np.random.Generator) -> Law:
    """Every reader reads five texts, and has an effect of their own of standard deviation 0.6."""
    law = pleas(rng)

    def readers(n: int, rng: np.random.Generator) -> pd.DataFrame:
        people = law.readers(-(-n // 5), rng).assign(who=np.arange(-(-n // 5)))
        return people.loc[np.repeat(people.index, 5)[:n]].reset_index(drop=True)

    return replace(law, readers=readers, respond=_with_own_effect, roles={"reader": "who"})


def crossed(rng: np.random.Generator) -> Law:
    """Sixty readers read all the rows, of 60 texts with effects that no word explains: both are few and repeat."""
    law = pleas(rng, count=60, own=0.3, confounding=0.5)

    def readers(n: int, rng: np.random.Generator) -> pd.DataFrame:
        people = law.readers(max(60, n // 20), rng).assign(who=np.arange(max(60, n // 20)))
        return people.loc[rng.integers(0, len(people), n)].reset_index(drop=True)

    return replace(law, readers=readers, respond=_with_own_effect, roles={"reader": "who"})


def _with_own_effect(mean: Float64, w: pd.DataFrame, rng: np.random.Generator) -> Float64:
    own = 0.6 * rng.normal(size=int(w["who"].max()) + 1)
    return np.asarray(mean + own[w["who"]] + 0.6 * rng.normal(size=len(mean)))


def minimize(rng: np.random.Generator) -> Law:
    """Complaints: smaller outcomes are better, and what an optimiser finds is the reverse."""
    law = pleas(rng)
    return replace(law, direction="minimize", score=lambda w: -law.score(w))


def hidden(rng: np.random.Generator) -> Law:
    """The home is not in the table."""
    return replace(pleas(rng), covariates=("age", "income", "region"))


def asked(rng: np.random.Generator, prompts: int | None = 30, *, chosen: float = 0.0, confounding: float = 0.7) -> Law:
    """40 answers to prompts, which are sets of 3 to 5 words v.

    What an answer is worth depends on the prompt: 0.5 tanh(alpha' u + v' A u), A of rank 2. Without a number of
    ``prompts`` each is asked once. ``chosen`` is the factor on the log-odds with which older readers ask some of the
    prompts more often. Without ``confounding`` the answers were written by a model that saw the prompt alone.
    """
    law = pleas(rng, count=40, confounding=confounding)
    words = counts(law.texts) - counts(law.texts).mean(axis=0)
    alpha = 0.4 * rng.normal(size=len(WORDS))
    left, right = 0.5 * rng.normal(size=(len(WORDS), 2)), 0.4 * rng.normal(size=(len(WORDS), 2))
    error = 0.2 * rng.normal(size=len(WORDS))
    known = texts(prompts, rng, 3, 5) if prompts else []
    leaning = rng.normal(size=len(known))
    topic = 0.4 * rng.normal(size=len(WORDS))

    def readers(n: int, rng: np.random.Generator) -> pd.DataFrame:
        people = law.readers(n, rng)
        if not known:
            return people.assign(prompt=texts(n, rng, 3, 5))
        a = _standardized(people)[0]
        odds = chosen * np.outer(a, leaning) + rng.gumbel(size=(n, len(known)))
        return people.assign(prompt=[known[j] for j in odds.argmax(axis=1)])

    def worth(w: pd.DataFrame, alpha: Float64) -> Float64:
        v = counts(w["prompt"].tolist())
        return np.asarray(0.5 * np.tanh(words @ alpha + (v @ left) @ (words @ right).T))

    def mean(w: pd.DataFrame) -> Float64:
        a, b, c = _standardized(w)
        v = counts(w["prompt"].tolist())
        level = 0.6 * a + 0.3 * (a**2 - 1) + 0.4 * b + 0.5 * c + w["delta"].to_numpy() + v @ topic
        return np.asarray(worth(w, alpha) + level[:, None])

    def log_odds(w: pd.DataFrame) -> Float64:
        v = counts(w["prompt"].tolist())
        return np.asarray(law.log_odds(w) + 0.5 * (v @ left) @ (words @ right).T)

    score: Matrix = lambda w: worth(w, alpha + error)  # noqa: E731
    return replace(law, readers=readers, mean=mean, log_odds=log_odds, score=score, roles={"prompt": "prompt"})


def selected(rng: np.random.Generator) -> Law:
    """Some 45% respond: those to whom the text appeals, and the young, more than others."""
    law = pleas(rng)

    def response(w: pd.DataFrame) -> Float64:
        a = _standardized(w)[0]
        worth = law.mean(w) - law.mean(w).mean(axis=1, keepdims=True)
        return np.asarray(-0.2 - 0.8 * a[:, None] + 1.0 * worth)

    return replace(law, response=response)


def bandit(rng: np.random.Generator) -> Law:
    """12 texts, shown in ten rounds: by chance with probability 0.3, else by the mean outcomes of earlier rounds."""
    law = pleas(rng, count=12, confounding=0.0)
    return replace(law, bandit=_rounds, roles={"time": "round", "behavior_log_prob": "log_q"})


def _rounds(law: Law, readers: pd.DataFrame, rng: np.random.Generator) -> Sample:
    n, k = len(readers), len(law.texts)
    turn = np.arange(n) * 10 // n
    text, log_shown = np.zeros(n, dtype=np.int64), np.zeros((n, k))
    mean, outcome = law.mean(readers), np.zeros(n)
    for now in range(10):
        rows, earlier = np.flatnonzero(turn == now), turn < now
        reads = np.bincount(text[earlier], minlength=k)
        found = np.bincount(text[earlier], weights=outcome[earlier], minlength=k) / np.maximum(reads, 1)
        log_shown[rows] = np.log(0.3 / k + 0.7 * softmax(found / 0.3 * (now > 0)))
        text[rows] = rng.choice(k, len(rows), p=np.exp(log_shown[rows[0]]))
        outcome[rows] = law.respond(mean[rows, text[rows]], readers.iloc[rows], rng)
    log_q = log_shown[np.arange(n), text]
    return Sample(readers.assign(round=turn, log_q=log_q), text, outcome, log_shown, np.ones(n), np.ones(n, dtype=bool))


@dataclass(frozen=True)
class Generator:
    """What a cell of the benchmark is computed on.

    Attributes
    ----------
    law:
        Draws coefficients, and returns the law.
    rows:
        Number of rows of the whole table.
    population:
        ``fixed``: a policy over the known texts is learned on 70% of the rows and evaluated on the rest, as are two
        built ones; ``drawn``: all rows evaluate three built policies, whose texts are a sample of those that might be
        written; ``written``: a small language model is tuned on 70% of the rows, and evaluated on texts that it has not
        seen.
    q:
        Where the ratios come from: ``reference``; ``logged`` log-probabilities of texts and of assignment;
        ``embedding``: the policies are given by their texts alone; ``misfit``: a reference that did not write the
        logs; ``bandit``: the logged probabilities of choices that depend on earlier outcomes.
    unmarked:
        Whether at most a tenth of its tables may carry a warning.
    """

    law: Callable[[np.random.Generator], Law]
    rows: int = 1600
    population: Literal["fixed", "drawn", "written"] = "fixed"
    q: Literal["reference", "logged", "embedding", "misfit", "bandit"] = "reference"
    unmarked: bool = False


GENERATORS = {
    "base": Generator(pleas, unmarked=True),
    "base, texts drawn": Generator(pleas, 800, "drawn"),
    "effects beyond the embedding": Generator(lambda rng: pleas(rng, own=0.4)),
    "effects beyond the embedding, texts drawn": Generator(lambda rng: pleas(rng, own=0.4), 800, "drawn"),
    "12 texts": Generator(lambda rng: pleas(rng, count=12)),
    "40 texts": Generator(lambda rng: pleas(rng, count=40)),
    "40 texts, texts drawn": Generator(lambda rng: pleas(rng, count=40), 800, "drawn"),
    "400 rows": Generator(pleas, 400),
    "40 regions": Generator(lambda rng: pleas(rng, regions=40)),
    "not confounded": Generator(lambda rng: pleas(rng, confounding=0.0), unmarked=True),
    "sign-reversing": Generator(sign_reversing),
    "binary": Generator(binary, unmarked=True),
    "count": Generator(count, unmarked=True),
    "skewed": Generator(skewed),
    "heavy-tailed": Generator(heavy_tailed),
    "exposure": Generator(exposure, unmarked=True),
    "minimise": Generator(minimize, unmarked=True),
    "panel": Generator(panel),
    "crossed": Generator(crossed),
    "repeated prompts": Generator(asked),
    "prompts chosen by readers": Generator(lambda rng: asked(rng, chosen=0.8)),
    "unique prompts": Generator(lambda rng: asked(rng, None, confounding=0.0), 800, "drawn"),
    "logged propensities": Generator(pleas, 800, "drawn", "logged", unmarked=True),
    "embedding q": Generator(pleas, 800, "drawn", "embedding"),
    "misfit reference": Generator(pleas, 800, "drawn", "misfit"),
    "selected feedback": Generator(selected),
    "bandit": Generator(bandit, 1600, "drawn", "bandit"),
    "half-hidden confounding": Generator(hidden),
    "language model": Generator(pleas, population="written"),
    "language model, not confounded": Generator(lambda rng: pleas(rng, confounding=0.0), population="written"),
    "language model, binary": Generator(binary, population="written"),
}
