"""A policy that writes, in part, what nobody logged: sentences of four slots, of which it may fill one twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.evaluation.evaluate import evaluate

SLOTS = [[f"{letter}{end}" for end in ("ka", "lo", "mi", "nu", "pe", "ri")] for letter in "bdgt"]
ROWS = 1200


class Writer:
    """One word of each slot; with probability ``astray`` a second one of the first slot in place of the second's."""

    def __init__(self, logits: Sequence[np.ndarray], astray: float) -> None:
        laws = [one - np.logaddexp.reduce(one) for one in logits]
        self.log_p = [dict(zip(slot, law, strict=True)) for slot, law in zip(SLOTS, laws, strict=True)]
        self.astray = astray

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        words = [rng.choice(list(law), n, p=np.exp(list(law.values()))) for law in self.log_p]
        again = rng.choice(list(self.log_p[0]), n, p=np.exp(list(self.log_p[0].values())))
        words[1] = np.where(rng.random(n) < self.astray, again, words[1])
        return [" ".join(text) for text in zip(*words, strict=True)]

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> np.ndarray:
        return np.array([self._log_prob(text.split()) for text in texts])

    def _log_prob(self, words: Sequence[str]) -> float:
        strays = words[1] in self.log_p[0]
        second = self.log_p[0 if strays else 1][words[1]] + np.log(self.astray if strays else 1 - self.astray)
        return second + sum(self.log_p[k][words[k]] for k in (0, 2, 3))


def values(worth: Mapping[str, float], texts: Sequence[str]) -> np.ndarray:
    return np.array([sum(worth[word] for word in text.split()) for text in texts])


def evaluated(seed: int):
    """The evaluation by defaults of a policy that strays in 15% of its texts, on logs without any, and the truth."""
    rng = np.random.default_rng(seed)
    worth = {word: value for slot in SLOTS for word, value in zip(slot, rng.normal(0.0, 0.5, 6), strict=True)}
    logits = [rng.normal(0.0, 0.3, 6) for _ in SLOTS]
    tilted = [one + 0.9 * np.array([worth[word] for word in slot]) for one, slot in zip(logits, SLOTS, strict=True)]
    reference, policy = Writer(logits, 0.01), Writer(tilted, 0.15)
    texts = [text for text in reference.sample(None, ROWS + 100, seed) if text.split()[1] not in SLOTS[0]][:ROWS]
    age = 0.5 * values(worth, texts) + rng.normal(size=ROWS)  # readers choose their texts
    outcome = values(worth, texts) + 0.7 * age + rng.normal(0.0, 0.5, ROWS)
    frame = pd.DataFrame({"text": texts, "age": age, "outcome": outcome})
    data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="outcome", covariates=["age"])
    found = evaluate(policy, data, reference=reference, estimators=["balance"], draws=500)
    new, old = (values(worth, one.sample(None, 100_000, seed)).mean() for one in (policy, reference))
    return found, new - old


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_what_no_row_can_tell_does_not_take_the_interval_away():
    """Intervals no wider than 0.45 for gains of 0.5 to 1; at least 2 of 3 cover (failure probability 0.007)."""
    found, truth = zip(*[evaluated(seed) for seed in range(200, 203)], strict=True)
    intervals = np.array([one.difference.confint() for one in found])
    assert np.diff(intervals).max() < 0.45
    assert np.sum((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])) >= 2
    assert all(50 <= one.overlap.ess < 150 for one in found)
    assert all("lie outside of what was logged" in " ".join(one.notes) for one in found)
