"""Letters of four phrases, readers of whom few respond, and a judge who reads every letter and errs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.tilting import temperature_at, tilt
from causalopt.typing import Float64, Int64

PHRASES = (
    ("dear neighbour", "good evening", "hello there", "to whom it may concern", "friends"),
    ("our school", "the old bridge", "a warm shelter", "the river bank", "this library"),
    ("needs you", "is closing soon", "was saved by people like you and me", "opens in spring", "will stay"),
    ("give what you can", "come on saturday", "write to the council", "tell two others about it", "thank you"),
)
LETTERS = [", ".join(parts) for parts in itertools.product(*PHRASES)]
CHOICE = np.array(list(np.ndindex(5, 5, 5, 5)))
ONE_HOT = (CHOICE[:, :, None] == np.arange(5)).reshape(len(LETTERS), 20).astype(float)
LENGTH = np.array([len(text) for text in LETTERS], dtype=np.float64)
LONG = (LENGTH - LENGTH.mean()) / LENGTH.std()
KL = 0.3
"""Of the policy to the reference, nats."""


@dataclass(frozen=True)
class Case:
    """What a table is drawn from.

    Attributes
    ----------
    labelled:
        Share of the rows with an outcome, chosen at random.
    confounding:
        Factor on the log-odds with which readers who respond most are shown letters that work worst.
    for_long:
        Standard deviations of the judge's score that one of the letters' length adds, whatever they are worth; the
        policy likes long letters then.
    rows:
        Number of rows.
    """

    labelled: float
    confounding: float = 0.0
    for_long: float = 0.0
    rows: int = 2000


CASES = {
    "randomised, 5%": Case(0.05),
    "randomised, 10%": Case(0.10),
    "randomised, 25%": Case(0.25),
    "confounded, 10%": Case(0.10, confounding=0.6),
    "confounded, 5%": Case(0.05, confounding=0.6),
    "judge likes long letters, 25%": Case(0.25, for_long=1.0),
}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows, a policy and its reference, the judge's score of each of the letters [625], and the true difference.

    ``text`` is the position of each row's letter, ``shown`` the probability with which its reader was shown it, [n].
    """

    data: DirectOutcomeDataset
    text: Int64
    shown: Float64
    policy: FinitePolicy
    reference: FinitePolicy
    score: Float64
    truth: float


def draw(case: Case, seed: int) -> Table:
    """Draw a table.

    A letter is worth f(x): a sum over its phrases, an interaction of the first two, and an effect of its own that no
    embedding of words shows, in all of standard deviation about 0.65. Reader i responds to it with
    5 + f(x) + 0.8 age_i + 0.4 sex_i + age_i h(x) + noise of standard deviation 0.7, with h a sum over phrases, of
    standard deviation about 0.2; ages have mean zero, so that the difference of two policies is that of f. Readers
    are shown each of the letters with log-odds -confounding age_i (f(x) - mean) / sd.

    The judge gives 1 to 5 stars, 1 + 4 expit(1.5 z) with z the standardised f(x) + 0.5 noise of the letter + for_long
    times its length: in the right order but for the noise, on a curve that bends, and with too wide a range.
    """
    rng = np.random.default_rng([seed, 23])
    phrases, pairs = 0.25 * rng.normal(size=20), 0.25 * rng.normal(size=(5, 5))
    worth = ONE_HOT @ phrases + pairs[CHOICE[:, 0], CHOICE[:, 1]] + 0.4 * rng.normal(size=len(LETTERS))
    worth_z = (worth - worth.mean()) / worth.std()
    score = 1 + 4 * expit(1.5 * (worth_z + 0.5 * rng.normal(size=len(LETTERS)) + case.for_long * LONG))
    n = case.rows
    age, sex = rng.normal(size=n), rng.integers(0, 2, n)
    log_odds = -case.confounding * np.outer(age, worth_z)
    text = np.argmax(log_odds + rng.gumbel(size=log_odds.shape), axis=1)  # drawn by the Gumbel trick
    varies = ONE_HOT @ (0.1 * rng.normal(size=20))
    outcome = 5 + worth[text] + 0.8 * age + 0.4 * sex + age * varies[text] + 0.7 * rng.normal(size=n)
    outcome[rng.permutation(n)[round(case.labelled * n) :]] = np.nan
    frame = pd.DataFrame(
        {
            "text": [LETTERS[i] for i in text],
            "outcome": outcome,
            "age": age,
            "sex": np.array(["f", "m"])[sex],
        }
    )
    data = DirectOutcomeDataset.from_frame(frame, covariates=["age", "sex"], on_missing="model")
    uniform = np.full(len(LETTERS), -np.log(len(LETTERS)))
    # What an optimiser might have found: phrases' effects with noise; and length, where the judge likes that.
    aim = worth_z + 0.35 * (ONE_HOT @ rng.normal(size=20)) + case.for_long * LONG
    log_prob = tilt(uniform, aim, temperature_at(uniform, aim, KL))
    truth = float((np.exp(log_prob) - np.exp(uniform)) @ worth)
    shown = np.exp(log_softmax(log_odds, axis=1))[np.arange(n), text]
    return Table(data, text, shown, known(log_prob), known(uniform), score, truth)


def known(log_prob: Float64) -> FinitePolicy:
    """Return a policy over the letters with these log-probabilities."""
    return FinitePolicy(LETTERS, log_prob, np.zeros((len(LETTERS), 1)), np.zeros(1), None)
