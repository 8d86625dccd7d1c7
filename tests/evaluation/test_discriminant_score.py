"""Policies that are known by their texts alone: what takes the place of their log-ratio."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.evaluation.balancing import balance_rows
from causalopt.evaluation.policies import Draws, ExternalPolicy
from causalopt.evaluation.score import discriminant_score

WORDS = [
    "".join(parts) for parts in itertools.product(("ba", "ko", "mi", "tu", "re", "sa"), ("lo", "fen", "gar", "pim"))
]


def table(seed: int, rows: int = 500, count: int = 200):
    """Texts are sets of words u; the policy is the reference tilted by 0.9 beta' u, about 0.4 nats away.

    Returns pseudo-outcomes, 800 texts of each policy, and the true log-ratio of every text.
    """
    rng = np.random.default_rng(seed)
    has = rng.random((count, len(WORDS))) < 0.25
    has[np.arange(count), rng.integers(0, len(WORDS), count)] = True
    texts = [" ".join(word for word, one in zip(WORDS, row, strict=True) if one) for row in has]
    worth = (has - has.mean(axis=0)) @ (0.4 * rng.normal(size=len(WORDS)))
    reference = 0.5 * rng.normal(size=count)
    reference -= np.logaddexp.reduce(reference)
    policy = reference + 0.9 * worth
    policy -= np.logaddexp.reduce(policy)
    shown = rng.choice(count, rows, p=np.exp(reference))
    outcome = 0.7 * np.tanh(worth[shown]) + 0.8 * rng.normal(size=rows)
    frame = pd.DataFrame({"text": [texts[i] for i in shown], "outcome": outcome})
    pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(co.DirectOutcomeDataset.from_frame(frame))
    drawn = [
        ExternalPolicy([texts[i] for i in rng.choice(count, 800, p=np.exp(one))]).draw(pseudo, 800, 0)
        for one in (policy, reference)
    ]
    return pseudo, drawn, dict(zip(texts, policy - reference, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_the_score_orders_texts_as_the_log_ratio_does(seed):
    pseudo, drawn, log_ratio = table(seed)
    score, of = discriminant_score(*drawn, pseudo)
    truth = np.array([log_ratio[text] for text in pseudo.dataset.texts])
    assert np.corrcoef(score, truth)[0, 1] > 0.65
    np.testing.assert_allclose(of(None, pseudo.dataset.texts[:5]), score[:5], rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_balanced_in_the_log_ratio(seed):
    """The weights' error in the mean of the true log-ratio: 0.36 to 0.83 of that without a score, on 16 tables."""
    pseudo, drawn, log_ratio = table(seed)
    of_rows, of_new, of_old = (
        np.array([log_ratio[text] for text in texts])
        for texts in (pseudo.dataset.texts, drawn[0].texts, drawn[1].texts)
    )
    missed = []
    for score in (discriminant_score(*drawn, pseudo), None):
        alpha = balance_rows(pseudo, drawn, score).alpha
        missed.append(of_new.mean() - of_old.mean() - (alpha[0] - alpha[1]) @ of_rows / len(of_rows))
    assert 0 < missed[0] < 0.95 * missed[1]


def test_texts_of_rows_count_by_their_exposure():
    """Rows of next to no exposure might as well be left out of a policy's texts."""
    pseudo, drawn, _ = table(0)
    texts, n = pseudo.dataset.texts, len(pseudo.dataset)
    exposure = np.where(np.arange(n) < n // 2, 1.0, 1e-9)
    weighted = SimpleNamespace(
        dataset=SimpleNamespace(weight=exposure, prompts=None, texts=texts), fitted=pseudo.fitted
    )
    some, every = (Draws(texts[:k], None, np.zeros(k), np.arange(k)) for k in (n // 2, n))
    expected, found = (discriminant_score(drawn[0], one, weighted)[0] for one in (some, every))
    assert np.corrcoef(expected, found)[0, 1] > 0.999
    unweighted = discriminant_score(drawn[0], every, pseudo)[0]
    assert np.corrcoef(expected, unweighted)[0, 1] < 0.99


def test_an_evaluation_uses_it():
    pseudo, drawn, _ = table(0)
    policies = [ExternalPolicy(one.texts) for one in drawn]
    found = co.evaluate(policies[0], pseudo, reference=policies[1], behavior_policy="embedding", estimators=["balance"])
    alpha = balance_rows(pseudo, drawn, discriminant_score(*drawn, pseudo)).alpha
    expected = np.mean(drawn[0].g) - np.mean(drawn[1].g) + np.mean((alpha[0] - alpha[1]) * pseudo.error)
    assert found.difference.value == pytest.approx(expected, abs=1e-9)
