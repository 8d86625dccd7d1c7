"""What a point of a path is judged by: texts of a few points, each asked for when the path reaches it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.data.population import FIXED
from causalopt.optimization.path import ENDS, FACTORS, ends_of
from causalopt.optimization.seen_policy import Setting, SharedTexts

TEXTS = [f"{a} {b}" for a in ("warm", "cold", "plain", "odd") for b in ("bread", "soup", "tea")]
TASTE = np.random.default_rng(4).normal(size=12)


class Law:
    def __init__(self, logits):
        self.table = logits - np.logaddexp.reduce(logits)
        self.sampled = 0

    def log_prob(self, prompts, texts):
        return self.table[[TEXTS.index(text) for text in texts]]

    def sample(self, prompts, n, seed):
        self.sampled += 1
        return [TEXTS[i] for i in np.random.default_rng(seed).choice(12, n, p=np.exp(self.table))]

    def save(self, directory):
        raise NotImplementedError

    load = save


@pytest.fixture
def laws():
    return {}


@pytest.fixture
def texts(laws):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "text": [TEXTS[i] for i in rng.integers(0, 12, 80)],
            "outcome": rng.normal(size=80),
            "age": rng.normal(size=80),
        }
    )
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"]).with_population(FIXED)
    pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized").fit_transform(data)
    setting = Setting(pseudo, np.zeros(80), "logged", FIXED, draws=200, seed=0)
    return SharedTexts(lambda factor: laws.setdefault(factor, Law(factor * TASTE)), (1.0, 1.5, 3.0), setting)


def test_a_point_between_two_that_write_is_weighted_and_the_next_is_drawn_when_it_is_reached(texts, laws):
    for factor, written in ((0.5, {0.0, 1.0}), (1.0, {0.0, 1.0}), (1.25, {0.0, 1.0, 1.5}), (1.5, {0.0, 1.0, 1.5})):
        seen = texts.see(factor)
        assert seen.policy is laws[factor]
        assert {factor for factor, law in laws.items() if law.sampled} == written
        assert seen.divergence.kl == pytest.approx(
            float(np.exp(laws[factor].table) @ (laws[factor].table - laws[0.0].table)), abs=5 * seen.divergence.se
        )
    assert all(law.sampled <= 1 for law in laws.values())


def test_its_score_is_the_log_ratio_of_policy_and_reference(texts, laws):
    found = texts.see(0.5).log_ratio
    pairs = list(found)
    expected = laws[0.5].log_prob(None, [text for _, text in pairs]) + np.log(12)
    np.testing.assert_allclose([found[pair] for pair in pairs], expected)


def test_where_too_few_texts_count_more_are_drawn(texts, laws):
    texts.see(1.0)
    laws[0.75] = Law(-4 * TASTE)  # not on the way from 0 to 1
    texts.see(0.75)
    assert laws[0.75].sampled == 1


def test_a_policy_that_turns_to_other_texts_further_out_is_seen_to(texts, laws):
    """At 1.5 six of ten texts have words that nobody logged; the reference and the policy at 1 write none of these."""

    class Strange(Law):
        def log_prob(self, prompts, texts):
            return np.array([np.log(0.4) - np.log(12) if text in TEXTS else np.log(0.6) for text in texts])

        def sample(self, prompts, n, seed):
            known = super().sample(prompts, n, seed)
            return [text if i % 10 < 4 else f"quartz violin {i % 3}" for i, text in enumerate(known)]

    for law in (laws[0.0], laws[1.0]):
        own = law.log_prob
        law.log_prob = lambda prompts, texts, own=own: np.array(
            [own(None, [text])[0] if text in TEXTS else -np.inf for text in texts]
        )
    assert texts.see(1.0).outside < 0.1
    laws[1.5] = Strange(np.zeros(12))
    assert texts.see(1.5).outside == pytest.approx(0.6, abs=0.1)
    assert texts.see(1.5).outside_of_reference < 0.1


def test_the_points_that_write_texts():
    assert ends_of(FACTORS) == ENDS == (1.0, 1.5, 2.0, 3.0)
    assert ends_of(FACTORS[:8]) == (1.0, 1.25)
    assert ends_of(FACTORS[:2]) == (0.5,)
    assert ends_of((1.0,)) == (1.0,)
