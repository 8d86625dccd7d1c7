"""Texts that several policies share, weighted to one: against exact sums over twelve texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.errors import ModelError
from causalopt.estimators.dm import ContextDraws, PlugIn
from causalopt.evaluation import dm
from causalopt.evaluation.shared_draws import SharedDraws, effective_number

TEXTS = [f"{a} {b}" for a in ("warm", "cold", "plain", "odd") for b in ("bread", "soup", "tea")]
G = np.random.default_rng(3).normal(size=12)
REPLICATIONS = 200


class Law:
    """A law over the twelve texts that cannot be enumerated; ``lost`` nats are missing from its log-probabilities."""

    def __init__(self, logits, lost=0.0):
        self.table = logits - np.logaddexp.reduce(logits)
        self.lost = lost

    def log_prob(self, prompts, texts):
        return self.table[[TEXTS.index(text) for text in texts]] - self.lost

    def sample(self, prompts, n, seed):
        return [TEXTS[i] for i in np.random.default_rng(seed).choice(12, n, p=np.exp(self.table))]

    def kl(self, other):
        return float(np.exp(self.table) @ (self.table - other.table))

    def between(self, other, factor):
        return Law((1 - factor) * self.table + factor * other.table)

    def mean(self, values=G):
        return float(np.exp(self.table) @ values)


def rows(prompts=False, n=60):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "text": [TEXTS[i] for i in rng.integers(0, 12, n)],
            "outcome": rng.normal(size=n),
            "age": rng.normal(size=n),
            "shown": rng.uniform(0.5, 2.0, n),
        }
    )
    asked = {"prompt": "asked"} if prompts else {}
    frame["asked"] = [f"question {i % 20}" for i in range(n)]
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"], weight="shown", **asked)
    return co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized").fit_transform(data)


@pytest.fixture(scope="module")
def pseudo():
    return rows()


@pytest.fixture(scope="module")
def asked():
    return rows(prompts=True)


@pytest.fixture(scope="module")
def ends():
    rng = np.random.default_rng(1)
    reference = Law(0.5 * rng.normal(size=12))
    return reference, Law(reference.table + rng.normal(size=12))


def g_of(texts):
    return G[[TEXTS.index(text) for text in texts]]


def shared_by(ends, pseudo, seed, n=150):
    found = SharedDraws.of(ends, pseudo, n, seed)
    return replace(found, texts=replace(found.texts, g=g_of(found.texts.texts)))


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.5])
def test_a_weighted_mean_is_the_sum_within_its_error(ends, pseudo, factor):
    """200 samples: no bias beyond 4 of its errors (chance 6e-5), and the errors are those that are stated."""
    policy = ends[0].between(ends[1], factor)
    errors, ses, kl_errors, kl_ses = [], [], [], []
    for seed in range(REPLICATIONS):
        shared = shared_by(ends, pseudo, seed)
        weight = shared.weight(policy.log_prob(None, shared.texts.texts))
        found = dm(shared.weighted(weight).for_plug_in(60))
        errors.append(found.value - policy.mean())
        ses.append(found.se)
        kl = shared.divergence(weight, shared.weight(shared.log_prob[0]), pseudo.dataset.weight)
        assert kl.kl >= 0
        kl_errors.append(kl.kl - policy.kl(ends[0]))
        kl_ses.append(kl.se)
    for error, se in ((errors, ses), (kl_errors, kl_ses)):
        assert abs(np.mean(error)) <= 4 * np.std(error) / np.sqrt(REPLICATIONS) + 1e-9
        # Strata, and constants that are estimated, make it a little smaller than stated, never larger.
        assert 0.7 * np.sqrt(np.mean(np.square(se))) - 1e-9 <= np.std(error) <= 1.15 * np.sqrt(np.mean(np.square(se)))


def test_the_error_of_a_difference_is_that_of_the_same_texts(ends, pseudo):
    """Two policies near each other: the draws' errors cancel, which those of two samples do not."""
    reference, policy = ends[0], ends[0].between(ends[1], 0.2)
    errors, ses, apart = [], [], []
    for seed in range(REPLICATIONS):
        shared = shared_by(ends, pseudo, seed)
        one, other = (
            dm(shared.weighted(shared.weight(law.log_prob(None, shared.texts.texts))).for_plug_in(60))
            for law in (policy, reference)
        )
        errors.append((one - other).value - (policy.mean() - reference.mean()))
        ses.append((one - other).se)
        apart.append(np.hypot(one.se, other.se))
    assert np.std(errors) == pytest.approx(np.sqrt(np.mean(np.square(ses))), rel=0.2)
    assert np.mean(ses) < 0.4 * np.mean(apart)
    assert ((one - one).value, (one - one).se) == (0.0, 0.0)


def test_weights_do_not_depend_on_constants_of_the_log_probabilities(ends, pseudo):
    """A model that ends in time with probability 0.6 gives its texts 0.5 nats less than their law has."""
    late = [ends[0], Law(ends[1].table, lost=0.5)]
    found = [shared_by(laws, pseudo, 4) for laws in (ends, late)]
    policy = ends[0].between(ends[1], 0.7)
    weights = [
        one.weight(policy.log_prob(None, one.texts.texts) - lost) for one, lost in zip(found, (0, 3), strict=True)
    ]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-7)
    assert weights[0].mean() == pytest.approx(1.0)
    for one, own in zip(found, (ends, late), strict=True):
        for law in own:
            assert one.weight(law.log_prob(None, one.texts.texts)).mean() == pytest.approx(1.0)
            assert one.weight(law.log_prob(None, one.texts.texts)).max() < 3.0  # M / n_k = 2, up to the constants


def test_each_policy_writes_texts_of_its_own(ends, pseudo):
    """Common random numbers would make the texts of two policies near each other the same, and half as many."""
    shared = shared_by([ends[0], ends[0]], pseudo, 0)
    assert shared.texts_of(0).texts == shared.texts.texts[:150]
    assert shared.texts_of(1).texts == shared.texts.texts[150:]
    assert shared.texts_of(0).texts != shared.texts_of(1).texts


def test_resampled_texts_follow_the_policy(ends, pseudo):
    shared = shared_by(ends, pseudo, 6, n=2000)
    far = ends[0].between(ends[1], 1.5)
    drawn = shared.weighted(shared.weight(far.log_prob(None, shared.texts.texts)))
    np.testing.assert_allclose(drawn.share(pseudo.dataset.weight), drawn.weight / 4000)
    texts, _ = drawn.sample(pseudo.dataset.weight, seed=0)
    share = np.array([texts.count(text) for text in TEXTS]) / 4000
    np.testing.assert_allclose(share, np.exp(far.table), atol=0.05)
    mixture = (np.exp(ends[0].table) + np.exp(ends[1].table)) / 2
    assert np.abs(np.exp(far.table) - mixture).max() > 0.15


def test_texts_of_a_further_policy_bring_its_weights_back(ends, pseudo):
    far = ends[0].between(ends[1], 4.0)
    shared = shared_by(ends, pseudo, 5)
    few = effective_number(shared.weight(far.log_prob(None, shared.texts.texts)))
    more = shared.with_draws_of(far, pseudo, ends)
    assert more.count.tolist() == [150, 150, 150]
    assert more.texts.texts[:300] == shared.texts.texts
    for k, law in enumerate([*ends, far]):
        np.testing.assert_allclose(more.log_prob[k], law.log_prob(None, more.texts.texts))
    weight = more.weight(far.log_prob(None, more.texts.texts))
    assert few < 100 < 130 < effective_number(weight)
    assert float(weight @ g_of(more.texts.texts)) / 450 == pytest.approx(far.mean(), abs=0.2)


def test_in_the_contexts_of_rows_each_row_keeps_its_exposure_and_the_mean_is_free_of_bias(ends, asked):
    """g is an effect of the text and a level of the row, ten times as large: the level cancels in a difference."""
    data, n = asked.dataset, 60
    level = 10 * np.random.default_rng(2).normal(size=n)
    row = np.arange(0, n, 2)
    reference, policy = ends[0], ends[0].between(ends[1], 0.6)
    exposure = data.weight / data.weight.mean()
    truth = policy.mean() - reference.mean()
    errors, ses = [], []
    for seed in range(REPLICATIONS):
        shared = SharedDraws.of(ends, asked, len(row), seed, row)
        values = []
        for law in (policy, reference):
            drawn = shared.weighted(shared.weight(law.log_prob(None, shared.texts.texts)))
            assert set(drawn.texts[60:]) <= set(data.texts)
            assert drawn.prompts == [data.prompts[i] for i in drawn.row]
            np.testing.assert_allclose(np.bincount(drawn.row, drawn.weight)[row], 2.0)
            values.append(dm(replace(drawn, g=g_of(drawn.texts) + level[drawn.row]).for_plug_in(n), weight=data.weight))
        errors.append((values[0] - values[1]).value - truth)
        ses.append((values[0] - values[1]).se)
    share = exposure[row] / exposure[row].sum()
    assert values[1].value == pytest.approx(reference.mean() + share @ level[row], abs=0.5)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / np.sqrt(REPLICATIONS)
    assert np.std(errors) == pytest.approx(np.sqrt(np.mean(np.square(ses))), rel=0.25)


def test_weighted_draws_of_rows_are_a_weighted_mean_by_hand():
    drawn = ContextDraws(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]), 2, np.array([2.0, 0.0, 2.0]))
    assert PlugIn.of(drawn, np.array([1.0, 1.0])).value == 3.0
    assert PlugIn.of(drawn, np.array([3.0, 1.0])).value == 2.0


def test_texts_that_nobody_can_have_written_are_refused(ends, pseudo):
    shared = shared_by(ends, pseudo, 0)
    with pytest.raises(ModelError, match="its probability is zero"):
        replace(shared, log_prob=np.full_like(shared.log_prob, -np.inf))
    with pytest.raises(ModelError, match="none of the texts that were drawn from others"):
        shared.weight(np.full(300, -np.inf))
