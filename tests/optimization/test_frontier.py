"""How far to go, on tables of a formula: 16 texts with effects of their own, read by readers at random."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import causalopt as co
from causalopt.backends.contracts import Progress
from causalopt.backends.finite import FiniteBackend
from causalopt.data.population import FIXED
from causalopt.optimization.frontier import frontier
from causalopt.optimization.path import FACTORS

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

WORDS = ("buy", "sell", "lend", "keep"), ("bread", "house", "garden", "boat")
TEXTS = [f"{first} the {last}" for first, last in itertools.product(*WORDS)]


def table(seed, rows=900, effect=1.0, noise=1.0):
    """Return rows and the mean outcome of each text: a word's effect, an interaction, and a reader's own level."""
    rng = np.random.default_rng(seed)
    first, last = np.divmod(np.arange(16), 4)
    mean = effect * (np.array([0.0, 0.5, 1.0, -0.5])[first] + 0.7 * ((first == 1) & (last == 2)))
    shown, age = rng.integers(0, 16, rows), rng.normal(size=rows)
    outcome = mean[shown] + 0.5 * age + noise * rng.standard_t(6, size=rows)
    frame = pd.DataFrame({"text": [TEXTS[i] for i in shown], "outcome": outcome, "age": age})
    return co.DirectOutcomeDataset.from_frame(frame, covariates=["age"]), mean


def nuisances():
    return co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")


def chosen(seed, **settings):
    """Choose on a sixth of the rows, and evaluate on a third: what a run does with its defaults."""
    data, mean = table(seed, **settings)
    train, test = data.with_population(FIXED).split(test_size=0.3, seed=seed)
    train, apart = train.split(test_size=0.2, seed=seed)
    backend = FiniteBackend(TEXTS, max_kl=1.5)
    policy = co.optimize(nuisances().fit_transform(train), backend=backend, choose=nuisances().fit_transform(apart))
    return policy, test, mean


def test_the_interval_of_the_chosen_policy_covers():
    """20 tables: 16 or fewer of 20 intervals cover with probability 0.016 at the nominal level, 15 with 0.003."""
    covered, gains = 0, []
    for seed in range(20):
        policy, test, mean = chosen(seed)
        gain = float((policy.policy.probability - policy.reference.probability) @ mean)
        found = co.evaluate(policy, test, nuisances=nuisances(), estimators=["balance"]).difference
        low, high = found.confint()
        covered += low <= gain <= high
        gains.append(gain)
    assert covered >= stats.binom.ppf(0.003, 20, 0.95)
    assert min(gains) > 0
    assert np.median(gains) > 0.4


def test_where_no_text_is_better_the_policy_is_mostly_the_reference():
    """A bound is above zero by chance in about a twentieth of tables: at most 4 of 12 (failure probability 2e-4)."""
    moved = sum(chosen(seed, effect=0.0)[0].frontier.chosen > 0 for seed in range(100, 112))
    assert moved <= 4


def test_a_small_table_says_how_many_rows_would_tell():
    policy, _, _ = chosen(3, rows=120, effect=0.3, noise=3.0)
    found = policy.frontier
    assert policy.policy is policy.reference
    assert found.chosen == 0.0
    assert "The policy is the reference" in found.sentence


def test_the_mirror_of_a_table_has_the_same_frontier():
    """Outcomes negated and to be minimised: the same points, gains of the other sign, the same choice."""
    data, _ = table(5)
    frame = data.to_frame().rename(columns={"covariate:age": "age"})[["text", "outcome", "age"]]
    found = []
    for direction, sign in (("maximize", 1), ("minimize", -1)):
        rows = co.DirectOutcomeDataset.from_frame(
            frame.assign(outcome=sign * frame["outcome"]), covariates=["age"], direction=direction
        ).with_population(FIXED)
        train, apart = rows.split(test_size=0.3, seed=0)
        policy = co.optimize(
            nuisances().fit_transform(train), backend=FiniteBackend(TEXTS), choose=nuisances().fit_transform(apart)
        )
        found.append(policy.frontier)
    assert found[0].chosen == found[1].chosen > 0
    np.testing.assert_allclose(found[0].frame["gain"], -found[1].frame["gain"], atol=1e-6)
    np.testing.assert_allclose(found[0].frame["bound"], -found[1].frame["bound"], atol=1e-6)


def test_few_effective_units_and_texts_that_nobody_logged_are_no_candidates():
    """A policy that writes the logged texts, and one at whose side 60% of the texts are of other words."""

    class Writer:
        def __init__(self, strange, tilt):
            self.strange, weight = strange, np.exp(tilt * np.arange(16))
            self.share = (1 - strange) * weight / weight.sum()

        def log_prob(self, prompts, texts):
            return np.log([self.share[TEXTS.index(text)] if text in TEXTS else self.strange / 4 for text in texts])

        def sample(self, prompts, n, seed):
            strange = [f"zebra {word} umbrella" for word in ("quartz", "violin", "copper", "meadow")]
            known = np.append(self.share, self.strange)
            drawn = np.random.default_rng(seed).choice(17, n, p=known / known.sum())
            return [TEXTS[i] if i < 16 else strange[j % 4] for j, i in enumerate(drawn)]

    data, _ = table(7, rows=600)
    pseudo = nuisances().fit_transform(data.with_population(FIXED))
    for end, why in ((Writer(0.6, 0.0), "lie outside of what was logged"), (Writer(1e-6, 3.0), "Overlap is")):
        found = frontier(end, Writer(1e-6, 0.0), pseudo, behavior_policy="reference", draws=200, population=FIXED)
        assert found.frame["factor"].tolist() == [1.0]
        assert why in found.frame["barred"][0]
        assert found.chosen == 0.0


class Written:
    """A finite policy that cannot be asked for its distribution, as a language model cannot."""

    def __init__(self, policy, asked):
        self.policy, self.asked = policy, asked

    def log_prob(self, prompts, texts):
        return self.policy.log_prob(prompts, texts)

    def sample(self, prompts, n, seed):
        self.asked.append(self.policy)
        return self.policy.sample(prompts, n, seed)

    def interpolated(self, reference, factor):
        return Written(self.policy.interpolated(reference.policy, factor), self.asked)

    def save(self, directory):
        raise NotImplementedError

    load = save


def test_texts_of_a_few_points_give_the_gains_that_sums_give():
    """The exact frontier of a finite policy, and that of 400 texts of the reference and of factors 1 and 1.5 each."""
    data, _ = table(1)
    pseudo = nuisances().fit_transform(data.with_population(FIXED))
    reference = FiniteBackend(TEXTS).reference(None, data.texts, data.weight, seed=0, progress=Progress())
    end = reference.with_theta(0.5 * np.random.default_rng(0).normal(size=len(reference.theta)))
    settings = {"behavior_policy": "reference", "population": FIXED, "furthest": 1.5}
    exact = frontier(end, reference, pseudo, **settings).frame
    assert exact["kl"].max() > 0.2
    errors, kl_errors, asked = [], [], []
    for seed in range(10):
        asked.clear()
        found = frontier(Written(end, asked), Written(reference, asked), pseudo, seed=seed, **settings).frame
        assert found["factor"].tolist() == [factor for factor in FACTORS if factor <= 1.5]
        assert len(asked) == 3
        assert asked[:2] == [reference, end]
        errors.append(found["gain"] - exact["gain"])
        kl_errors.append(found["kl"] - exact["kl"])
    for error in (np.array(errors), np.array(kl_errors)):
        spread = error.std(axis=0)
        assert np.all(np.abs(error.mean(axis=0)) < 4 * spread / np.sqrt(10) + 0.003)
        assert np.all(np.diff(spread) > -0.01)  # near the reference, the draws' errors cancel
        assert spread.max() < 0.1


def test_with_prompts_texts_of_a_few_points_give_the_gains_that_sums_give():
    """Readers of two prompts, whose own levels are as large as the texts' effects: these cancel in every gain."""
    data, _ = table(2, rows=400)
    frame = data.to_frame().rename(columns={"covariate:age": "age"})[["text", "outcome", "age"]]
    frame["asked"] = np.where(np.arange(400) % 2, "morning?", "evening?")
    rows = co.DirectOutcomeDataset.from_frame(frame, prompt="asked", covariates=["age"]).with_population(FIXED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pseudo = nuisances().fit_transform(rows)
    reference = FiniteBackend(TEXTS).reference(rows.prompts, rows.texts, rows.weight, seed=0, progress=Progress())
    end = reference.with_theta(0.5 * np.random.default_rng(0).normal(size=len(reference.theta)))
    settings = {"behavior_policy": "reference", "population": FIXED, "furthest": 1.25, "draws": 400}
    exact = frontier(end, reference, pseudo, **settings).frame
    errors, ses = [], []
    for seed in range(6):
        found = frontier(Written(end, []), Written(reference, []), pseudo, seed=seed, **settings).frame
        errors.append(found["gain"] - exact["gain"])
        ses.append(found["se"])
    spread = np.array(errors).std(axis=0)
    assert np.all(np.abs(np.mean(errors, axis=0)) < 4 * spread / np.sqrt(6) + 0.003)
    assert np.all(spread < np.mean(ses, axis=0))
    assert spread[0] < 0.5 * spread[-1]
