"""KL(policy || reference) from draws of the policy: against sums, near and far, and never below zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt.backends.listed_policy import ListedPolicy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.evaluation.divergence import divergence
from causalopt.evaluation.policies import Draws

TEXTS = [f"text {i}" for i in range(40)]
ROWS = DirectOutcomeDataset.from_frame(
    pd.DataFrame({"text": TEXTS, "outcome": np.arange(40.0)}), text="text", outcome="outcome"
)


class Law:
    """Of the forty texts: it can be asked for log-probabilities, and not for its distribution."""

    def __init__(self, logits):
        self.table = logits - np.logaddexp.reduce(logits)

    def log_prob(self, prompts, texts):
        return self.table[[TEXTS.index(text) for text in texts]]

    def draws(self, rng, n=400):
        texts = [TEXTS[i] for i in rng.choice(40, n, p=np.exp(self.table))]
        return Draws(texts, None, np.zeros(n), None)

    def kl(self, other):
        return float(np.exp(self.table) @ (self.table - other.table))


@pytest.mark.parametrize("apart", [0.05, 0.5, 2.0])
def test_it_is_the_sum_within_its_error(apart):
    """200 replications: the mean error is within 4 of its standard errors (chance 6e-5) or a tenth of the sum.

    The mean squared error is that of the stated errors, and never above that of the plain mean of log-ratios by more
    than a tenth; where the laws are near it is far below.
    """
    rng = np.random.default_rng(0)
    reference = Law(rng.normal(size=40))
    policy = Law(reference.table + apart * rng.normal(size=40))
    truth = policy.kl(reference)
    found, plain = [], []
    for _ in range(200):
        drawn = policy.draws(rng)
        kl = divergence(policy, reference, ROWS, drawn)
        assert kl.kl >= 0
        found.append((kl.kl - truth, kl.se))
        plain.append(np.mean(policy.log_prob(None, drawn.texts) - reference.log_prob(None, drawn.texts)) - truth)
    error, se = np.array(found).T
    assert abs(error.mean()) < max(4 * error.std() / np.sqrt(200), 0.1 * truth)
    assert error.std() == pytest.approx(np.sqrt(np.mean(se**2)), rel=0.25)
    assert error.std() < 1.1 * np.std(plain)
    if apart < 1:
        assert error.std() < 0.6 * np.std(plain)


def test_a_draw_that_the_reference_likes_far_better_does_not_decide():
    """One of 400 draws is e^8 times as likely under the reference: the mean of r moves by 0.02, that of k3 by 7."""
    reference = Law(np.where(np.arange(40) == 0, 0.0, -0.001))
    policy = Law(np.where(np.arange(40) == 0, -8.0, -0.001))
    texts = [TEXTS[0], *[TEXTS[1 + i % 39] for i in range(399)]]
    found = divergence(policy, reference, ROWS, Draws(texts, None, np.zeros(400), None))
    assert found.kl == pytest.approx(policy.kl(reference), abs=0.03)


def test_of_a_law_with_itself_it_is_zero():
    law = Law(np.arange(40.0))
    found = divergence(law, law, ROWS, law.draws(np.random.default_rng(0)))
    assert (found.kl, found.se) == (0.0, 0.0)


@pytest.mark.parametrize("prompts", [None, ["c", "d"]])
def test_texts_of_probability_zero_add_nothing_and_those_that_the_reference_never_writes_make_it_infinite(prompts):
    """Always "a" is log 4 from a reference that writes it a quarter of the time; the way back is infinite."""
    asked = None if prompts is None else ["c", "c", "d", "d"]
    times = 1 if prompts is None else 2
    always = ListedPolicy(["a", "b"] * times, [1.0, 0.0] * times, asked)
    mixed = ListedPolicy(["a", "b"] * times, [0.25, 0.75] * times, asked)
    frame = pd.DataFrame({"text": ["a", "b"] * 5, "prompt": ["c", "d"] * 5, "outcome": range(10)})
    rows = DirectOutcomeDataset.from_frame(frame, prompt=None if prompts is None else "prompt")
    of_rows = None if prompts is None else np.arange(10)
    drawn = Draws(["a"] * 10, rows.prompts, np.zeros(10), of_rows)
    found = divergence(always, mixed, rows, drawn)
    assert found is not None
    assert (found.kl, found.se) == (pytest.approx(np.log(4)), 0.0)
    back = Draws(["a", "b"] * 5, rows.prompts, np.zeros(10), of_rows)
    assert divergence(mixed, always, rows, back) is None
