"""Readers ask the prompts of their own kind, and a deployment answers them: prompts and readers stay together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.data.population import FIXED
from causalopt.evaluation.policies import ExternalPolicy, LoggedPolicy

PROMPTS = [
    f"please explain {thing}" for thing in ("rent", "taxes", "wages", "bread", "rivers", "stars", "moss", "hail")
]
KIND = np.repeat([0, 1], 4)
FORMAL = np.linspace(-1.5, 1.5, 13)
TEXTS = [f"answer in register {i:02d}" for i in range(13)]
LOGGED = np.exp(-(FORMAL**2)) / np.exp(-(FORMAL**2)).sum()


class Register:
    """A text's formality and a prompt's position, each in a column of its own."""

    def fit(self, texts):
        return self

    def transform(self, texts):
        rows = []
        for text in texts:
            asked = np.eye(8)[PROMPTS.index(text)] if text in PROMPTS else np.zeros(8)
            rows.append([0.0 if text in PROMPTS else FORMAL[TEXTS.index(text)], *asked])
        return np.array(rows, dtype=np.float32)


def table(n: int, seed: int, assigned: float = 0.0) -> pd.DataFrame:
    """85% of readers ask prompts of their own kind. A formal register helps readers on their own ground (slope 1) and
    puts off the others (slope -2); with ``assigned`` a system also wrote more formally to readers of kind 1."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, 2, n)
    kind = np.where(rng.random(n) < 0.85, own, 1 - own)
    prompt = 4 * kind + rng.integers(0, 4, n)
    law = LOGGED * np.exp(assigned * np.outer(own - 0.5, FORMAL))
    law /= law.sum(axis=1, keepdims=True)
    shown = (rng.random((n, 1)) > law.cumsum(axis=1)).sum(axis=1)
    slope = np.where(kind == own, 1.0, -2.0)
    y = slope * FORMAL[shown] + 0.5 * own + rng.normal(size=n)
    frame = {"prompt": [PROMPTS[c] for c in prompt], "text": [TEXTS[x] for x in shown], "own": own, "outcome": y}
    return pd.DataFrame(frame)


def deployed(law: np.ndarray) -> np.ndarray:
    """Value of P(x | c), shape [8, 13], up to a constant: 0.85 of a prompt's readers are on their own ground."""
    return float(np.mean(law @ FORMAL) * (0.85 * 1.0 - 0.15 * 2.0))


@pytest.mark.parametrize(("assignment", "assigned"), [("gaussian", 0.0), ("randomized", 0.0), ("gaussian", 0.8)])
def test_the_value_is_what_a_deployment_gains(assignment, assigned):
    """Six tables: at most two of their 95% intervals miss with probability 0.998; averaged over readers who never ask a
    prompt the gain would have the wrong size by ten standard errors."""
    tilted = LOGGED * np.exp(0.6 * FORMAL)
    tilted /= tilted.sum()
    gain = deployed(np.tile(tilted, (8, 1))) - deployed(np.tile(LOGGED, (8, 1)))
    hits = []
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        frame = table(1200, seed, assigned)
        shown = np.array([TEXTS.index(text) for text in frame["text"]])
        frame["lq"], frame["lf"] = np.log(LOGGED)[shown], np.log(tilted)[shown]
        frame["new"] = [TEXTS[x] for x in rng.choice(13, len(frame), p=tilted)]
        data = co.DirectOutcomeDataset.from_frame(
            frame, prompt="prompt", covariates=["own"], behavior_log_prob="lq", policy_log_prob="lf", policy_text="new"
        ).with_population(FIXED)
        pseudo = co.PseudoOutcomeEstimator(
            embedder=Register(), outcome_model="ridge", assignment_model=assignment
        ).fit_transform(data)
        found = co.evaluate(ExternalPolicy(), pseudo, reference=LoggedPolicy(), population=FIXED, estimators=["sndr"])
        low, high = found.difference.confint()
        hits.append((low <= gain <= high, found.difference.value))
    assert sum(hit for hit, _ in hits) >= 4
    assert np.mean([value for _, value in hits]) == pytest.approx(gain, abs=0.06)


@pytest.mark.parametrize("objective", ["dr_cpo", "cpo", "oo_rlhf"])
def test_a_policy_gains_what_a_deployment_can(objective):
    """The optimum at the policy's own KL is the reference tilted by the mean slope of the readers of each prompt."""
    data = co.DirectOutcomeDataset.from_frame(table(3000, 1), prompt="prompt", covariates=["own"]).with_population(
        FIXED
    )
    pseudo = co.PseudoOutcomeEstimator(
        embedder=Register(), outcome_model="ridge", assignment_model="gaussian"
    ).fit_transform(data)
    backend = co.FiniteBackend(TEXTS, embedder=Register(), max_kl=0.5)
    found = co.optimize(pseudo, objective={"name": objective, "forward_kl": 0.0}, backend=backend)
    start, end = (np.exp(p.distribution(PROMPTS)[1]) for p in (found.reference, found.policy))
    kl = float(np.mean(np.sum(end * np.log(end / start), axis=1)))
    assert kl > 0.1
    gained = deployed(end) - deployed(start)
    assert gained > 0.85 * (_best(start, kl) - deployed(start))


def _best(start: np.ndarray, kl: float) -> float:
    """Value of the reference tilted by exp(t * formality), which is best for every prompt, at a given mean KL."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        law = start * np.exp(middle * FORMAL)
        law /= law.sum(axis=1, keepdims=True)
        low, high = (middle, high) if np.mean(np.sum(law * np.log(law / start), axis=1)) < kl else (low, middle)
    return deployed(law)


def test_a_shift_of_the_outcome_shifts_the_pseudo_outcome_alone():
    """Each row has its own prompt, whose g is a weighted m: the level of the outcomes must not be weighted too."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"prompt": [f"question {i}" for i in range(200)], "text": rng.choice(["yes", "no", "ask"], 200)}
    )
    frame["age"] = rng.normal(size=200) + (frame["text"] == "yes")
    frame["y"] = frame["age"] + rng.normal(size=200)
    roles = {"text": "text", "outcome": "y", "prompt": "prompt", "covariates": ["age"]}
    one, other = (
        co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(
            co.DirectOutcomeDataset.from_frame(frame.assign(y=frame["y"] + shift), **roles)
        )
        for shift in (0.0, 1000.0)
    )
    assert one.s.std() > 0.1
    np.testing.assert_allclose(other.xi, one.xi + 1000, rtol=0, atol=1e-6)
    np.testing.assert_allclose(other.g, one.g + 1000, rtol=0, atol=1e-6)
