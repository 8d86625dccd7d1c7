"""Texts whose gain and complaints conflict, by a formula: both values of any policy over them are sums."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.simulation.tilting import temperature_at, tilt
from causalopt.typing import Float64

SLOTS = (
    ("Hello", "Greetings", "Listen", "Welcome", "Wait", "Attention"),
    ("give", "share", "help", "act", "join", "decide"),
    ("today", "soon", "tonight", "tomorrow", "monday", "forever"),
    ("please", "now"),
)
GAIN = (
    (-1.0, -0.6, -0.2, 0.2, 0.6, 1.0),
    (-0.6, -0.36, -0.12, 0.12, 0.36, 0.6),
    (0.1, -0.1, 0.1, -0.1, 0.1, -0.1),
    (-0.2, 0.2),
)
"""Effect of each word on the outcome, outcome units."""
COMPLAINT = (
    (-0.9, -0.54, -0.18, 0.18, 0.54, 0.9),
    (0.2, -0.2, 0.2, -0.2, 0.2, -0.2),
    (-0.75, -0.45, -0.15, 0.15, 0.45, 0.75),
    (0.0, 0.0),
)
"""Effect of each word on the log-odds of a complaint: the first words that gain most are complained of most."""
LEVEL = -1.6
"""Log-odds of a complaint about the average text by the average reader."""
READER_GAIN, READER_COMPLAINT, SELECTION = 0.8, 0.5, 0.4
"""Slopes of the outcome, of the log-odds of a complaint and of the log-odds of being shown a first word, in w."""
NOISE = 1.0
NODES = 64
"""Gauss-Hermite nodes of the mean over readers."""
LARGEST = 1e6
"""Largest multiplier of a bound that is looked at."""


def texts() -> list[str]:
    return [" ".join(words) for words in product(*SLOTS)]


@cache
def _sums() -> tuple[Float64, Float64, Float64]:
    """Effect on the outcome, on the log-odds of a complaint, and place of the first word, each [432]."""
    gain, complaint = (np.array([sum(one) for one in product(*effects)]) for effects in (GAIN, COMPLAINT))
    first = np.array([GAIN[0][SLOTS[0].index(words[0])] for words in product(*SLOTS)])
    return gain, complaint, first


def truth() -> tuple[Float64, Float64]:
    """Mean outcome, and probability of a complaint, of each text over all readers, [432]."""
    gain, complaint, _ = _sums()
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    share = weights / weights.sum()
    return gain, expit(LEVEL + complaint[:, None] + READER_COMPLAINT * nodes) @ share


def sample(n: int, seed: int) -> DirectOutcomeDataset:
    """Draw n readings; readers with a large w, who respond and complain more, are shown less of what gains most."""
    rng = np.random.default_rng([seed, 41])
    gain, complaint, first = _sums()
    w = rng.standard_normal(n)
    log_shown = -SELECTION * w[:, None] * first
    cumulative = np.exp(log_shown - logsumexp(log_shown, axis=1, keepdims=True)).cumsum(axis=1)
    shown = np.minimum((cumulative < rng.random(n)[:, None]).sum(axis=1), len(gain) - 1)
    frame = pd.DataFrame(
        {
            "text": np.array(texts())[shown],
            "w": w,
            "outcome": gain[shown] + READER_GAIN * w + NOISE * rng.standard_normal(n),
            "complaint": rng.random(n) < expit(LEVEL + complaint[shown] + READER_COMPLAINT * w),
        }
    )
    return DirectOutcomeDataset.from_frame(
        frame, source="benchmarks.constraints", covariates=["w"], other_outcomes=["complaint"]
    )


def best_feasible(log_base: Float64, g: Float64, c: Float64, bound: float, kl: float) -> float | None:
    """Largest mean of g under a distribution with a mean of c of at most ``bound``, within a KL of the reference.

    The program is convex: by duality its value is the least, over mu >= 0, of the largest mean of g - mu (c - bound)
    within the KL, which one tilt of the reference reaches. None if no distribution within the KL keeps the bound.
    """
    if tilted_mean(log_base, -c, -c, kl) < -bound:
        return None

    def dual(mu: float) -> float:
        return tilted_mean(log_base, g - mu * c, g - mu * (c - bound), kl)

    largest = 1.0
    while dual(2 * largest) < dual(largest) and largest < LARGEST:
        largest *= 2
    return float(minimize_scalar(dual, bounds=(0.0, 2 * largest), method="bounded", options={"xatol": 1e-9}).fun)


def tilted_mean(log_base: Float64, by: Float64, of: Float64, kl: float) -> float:
    """Mean of ``of`` under the distribution within ``kl`` of the reference that has the largest mean of ``by``."""
    return float(np.exp(tilt(log_base, by, temperature_at(log_base, by, kl))) @ of)
