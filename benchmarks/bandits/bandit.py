"""Bandits over known texts, whose propensities are logged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import log_ndtr

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.dataset import DirectOutcomeDataset

VERBS = ("please give", "kindly help", "come and join", "do write to", "stand with")
NOUNS = ("our neighbors", "the children", "local farms", "lost dogs", "new families", "old friends", "a school", "us")
TEXTS = [" ".join(words) for words in itertools.product(VERBS, NOUNS)]
BATCH = 10
"""Rows between two updates of a bandit."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
NOISE = 1.0
OF_AGE = 0.5


@dataclass(frozen=True)
class Case:
    """A bandit.

    Attributes
    ----------
    algorithm:
        "thompson", "greedy" or "ucb", see `log_rows`.
    texts:
        Number of texts.
    spread:
        Standard deviation of the texts' worth, outcome units; the noise has 1.
    winner:
        What is added to the worth of the first text, outcome units.
    """

    algorithm: str
    texts: int
    spread: float
    winner: float = 0.0


CASES = {
    f"{name}, {texts} texts, {worth}": Case(algorithm, texts, spread)
    for (name, algorithm), texts, (worth, spread) in itertools.product(
        (("Thompson sampling", "thompson"), ("epsilon-greedy", "greedy")),
        (8, 40),
        (("of different worth", 0.5), ("of one worth", 0.0)),
    )
}


@dataclass(frozen=True, eq=False)
class Table:
    """Logs, the policies by name, and their true values."""

    data: DirectOutcomeDataset
    policies: dict[str, FinitePolicy]
    truth: dict[str, float]


@dataclass(frozen=True, eq=False)
class Logs:
    """Texts, their worth [k], the rows (text, outcome, age, row) and the log-propensities of all texts [n, k]."""

    texts: list[str]
    worth: np.ndarray
    frame: pd.DataFrame
    log_e: np.ndarray


def thompson(mean: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Probability that each text has the largest draw from its posterior (a normal prior of variance 1), [k]."""
    scale = NOISE / np.sqrt(count + NOISE**2)
    center = mean * count / (count + NOISE**2)
    # P(k is largest) = E[prod_{i != k} Phi((z_k - c_i) / s_i)] over z_k of its posterior, by Gauss-Hermite quadrature.
    z = center[:, None] + scale[:, None] * NODES
    below = log_ndtr((z[:, :, None] - center) / scale)
    others = below.sum(axis=2) - np.einsum("kjk->kj", below)
    share = np.exp(others) @ WEIGHTS
    return share / share.sum()


def greedy(mean: np.ndarray, count: np.ndarray) -> np.ndarray:
    """All mass on the text of the largest mean so far."""
    return (np.arange(len(mean)) == np.argmax(mean)).astype(float)


def ucb(mean: np.ndarray, count: np.ndarray) -> np.ndarray:
    """All mass on the text of the largest upper bound, mean + sqrt(2 log t / count) (UCB1, Auer et al. 2002)."""
    bonus = np.sqrt(2 * np.log(count.sum() + 1) / np.maximum(count, 1e-9))
    return (np.arange(len(mean)) == np.argmax(mean + bonus)).astype(float)


ALGORITHMS: dict[str, tuple[Callable[..., np.ndarray], float]] = {
    "thompson": (thompson, 0.5),
    "greedy": (greedy, 1 / 3),
    "ucb": (ucb, np.inf),
}
"""How a bandit chooses, and the power of time with which the share of rows that show any text falls.

UCB explores by its bounds: after the first batch its choices are not random."""


def log_rows(case: Case, rows: int, seed: int) -> Logs:
    """Draw the worth of texts, and the rows that a bandit logs.

    Text x is worth f(x), normal with standard deviation ``spread``; a reader of age a (standard normal) gives it
    f(x) + a / 2 + noise of standard deviation 1. In row t the bandit shows any text with probability t^-power, and else
    chooses by the outcomes of all batches of ten rows before; the probabilities of all texts are logged.
    """
    rng = np.random.default_rng(seed)
    worth = case.spread * rng.normal(size=case.texts)
    worth[0] += case.winner
    age, noise = rng.normal(size=rows), NOISE * rng.normal(size=rows)
    choose, power = ALGORITHMS[case.algorithm]
    text, log_e = np.zeros(rows, dtype=int), np.zeros((rows, case.texts))
    total, count = np.zeros(case.texts), np.zeros(case.texts)
    for start in range(0, rows, BATCH):
        now = np.arange(start, min(start + BATCH, rows))
        explore = min(1.0, (start + 1.0) ** -power)
        favoured = choose(total / np.maximum(count, 1), count)
        share = explore / case.texts + (1 - explore) * favoured
        text[now] = rng.choice(case.texts, size=len(now), p=share / share.sum())
        with np.errstate(divide="ignore"):  # texts that cannot be chosen
            log_e[now] = np.log(share / share.sum())
        y = worth[text[now]] + OF_AGE * age[now] + noise[now]
        total += np.bincount(text[now], weights=y, minlength=case.texts)
        count += np.bincount(text[now], minlength=case.texts)
    texts = TEXTS[: case.texts] if case.texts == len(TEXTS) else TEXTS[:: len(TEXTS) // case.texts][: case.texts]
    frame = pd.DataFrame(
        {
            "text": [texts[i] for i in text],
            "outcome": worth[text] + OF_AGE * age + noise,
            "age": age,
            "row": np.arange(rows),
        }
    )
    return Logs(texts, worth, frame, log_e)


def draw(case: Case, rows: int, seed: int) -> Table:
    """Draw the logs of a bandit, with the probabilities of all texts, and policies that are fixed in advance."""
    logs = log_rows(case, rows, seed)
    texts, worth = logs.texts, logs.worth
    columns = {shown: f"log_e_{i}" for i, shown in enumerate(texts)}
    frame = pd.concat([logs.frame, pd.DataFrame(logs.log_e, columns=list(columns.values()))], axis=1)
    data = DirectOutcomeDataset.from_frame(frame, covariates=["age"], propensities=columns, time="row", adaptive=True)
    uniform = np.full(case.texts, 1 / case.texts)
    # The bandit's choice would depend on the logs; these policies are fixed before them.
    last = 0.9 * (np.arange(case.texts) == np.argmin(worth)) + 0.1 * uniform
    first = 0.9 * (np.arange(case.texts) == np.argmax(worth)) + 0.1 * uniform
    shares = {"uniform": uniform, "the best text": first, "the worst text": last}
    policies = {
        name: FinitePolicy(texts, np.log(share), np.zeros((len(texts), 1)), np.zeros(1), None)
        for name, share in shares.items()
    }
    return Table(data, policies, {name: float(share @ worth) for name, share in shares.items()})
