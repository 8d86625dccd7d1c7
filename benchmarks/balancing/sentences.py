"""Sentences of four phrases, readers who are shown what they like, and a policy that writes any sentence."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.tilting import temperature_at, tilt

PHRASES = (
    ("please help", "kindly support", "do join", "come back", "stand with"),
    ("our neighbors", "the children", "local farms", "lost dogs", "new families"),
    ("this winter", "right now", "every monday", "before spring", "for one year"),
    ("with a gift", "by walking", "through letters", "and tell friends", "without delay"),
)
SENTENCES = [" ".join(parts) for parts in itertools.product(*PHRASES)]
CHOICE = np.array(list(np.ndindex(5, 5, 5, 5)))
ONE_HOT = (CHOICE[:, :, None] == np.arange(5)).reshape(len(SENTENCES), 20).astype(float)


@dataclass(frozen=True)
class Case:
    """What a table is drawn from.

    Attributes
    ----------
    rows, sentences:
        Number of rows, and of the 625 sentences that are ever shown.
    unseen:
        Standard deviation of effects of sentences that no embedding of phrases shows, outcome units.
    readings:
        Rows of each reader; above 1 readers have effects of their own.
    regions:
        Levels of the categorical covariate.
    confounding:
        Factor on the log-odds with which readers are shown what they like.
    kl:
        KL of the policy to the reference, nats.
    """

    rows: int = 800
    sentences: int = 300
    unseen: float = 0.0
    readings: int = 1
    regions: int = 4
    confounding: float = 1.0
    kl: float = 0.4


CASES = {
    "300 sentences": Case(),
    "effects that the embedding misses": Case(unseen=0.4),
    "50 sentences": Case(sentences=50),
    "five readings each": Case(readings=5),
    "40 regions": Case(regions=40),
    "not confounded": Case(confounding=0.0),
    "a policy at 1.5 nats": Case(kl=1.5),
}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows, a policy, its reference, and the true difference of their values, outcome units."""

    data: DirectOutcomeDataset
    policy: FinitePolicy
    reference: FinitePolicy
    truth: float


def draw(case: Case, seed: int) -> Table:
    """Draw a table.

    A sentence is worth f(x): a sum over its phrases, an interaction of the first two, and ``unseen``. Reader i gives it
    f(x) + b(w_i) + age_i h(x) + noise of standard deviation 0.8, with h a sum over phrases. The reader is shown one of
    the sentences with log-odds that are a product of covariates (age, sex, region) and of phrases. As ages have mean
    zero, the difference of two policies is that of f.
    """
    rng = np.random.default_rng(seed)
    phrases, pairs = 0.35 * rng.normal(size=20), 0.35 * rng.normal(size=(5, 5))
    worth = ONE_HOT @ phrases + pairs[CHOICE[:, 0], CHOICE[:, 1]] + case.unseen * rng.normal(size=len(SENTENCES))
    shown = rng.choice(len(SENTENCES), case.sentences, replace=False)
    readers = case.rows // case.readings
    age, sex, region = rng.normal(size=readers), rng.integers(0, 2, readers), rng.integers(0, case.regions, readers)
    of_region = 0.4 * rng.normal(size=case.regions)
    liking = ONE_HOT @ (0.5 * rng.normal(size=(20, 3)))
    reader = np.repeat(np.arange(readers), case.readings)
    covariates = np.column_stack([age, sex - 0.5, of_region[region]])
    log_odds = case.confounding * covariates[reader] @ liking[shown].T
    text = shown[np.argmax(log_odds + rng.gumbel(size=log_odds.shape), axis=1)]  # drawn by the Gumbel trick
    varies = ONE_HOT @ (0.25 * rng.normal(size=20))
    own = 0.5 * rng.normal(size=readers) if case.readings > 1 else np.zeros(readers)
    level = 0.9 * age + 0.6 * sex + 1.5 * of_region[region] + own
    outcome = worth[text] + level[reader] + age[reader] * varies[text] + 0.8 * rng.normal(size=len(text))
    frame = pd.DataFrame(
        {
            "text": [SENTENCES[i] for i in text],
            "outcome": outcome,
            "age": age[reader],
            "sex": np.array(["f", "m"])[sex[reader]],
            "region": [f"r{k}" for k in region[reader]],
            "who": reader,
        }
    )
    roles = {"reader": "who"} if case.readings > 1 else {}
    data = DirectOutcomeDataset.from_frame(frame, covariates=["age", "sex", "region"], **roles)
    # What an optimiser might have found: the phrases' effects with noise, and no interaction.
    score = ONE_HOT @ (phrases + 0.175 * rng.normal(size=20))
    uniform = np.full(len(SENTENCES), -np.log(len(SENTENCES)))
    log_prob = tilt(uniform, score, temperature_at(uniform, score, case.kl))
    truth = float((np.exp(log_prob) - np.exp(uniform)) @ worth)
    return Table(data, known(SENTENCES, log_prob), known(SENTENCES, uniform), truth)


def known(texts: list[str], log_prob: np.ndarray) -> FinitePolicy:
    """Return a policy over known texts with these log-probabilities."""
    return FinitePolicy(texts, log_prob, np.zeros((len(texts), 1)), np.zeros(1), None)
