"""The world against sums done another way, and against its own samples.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import OneHotEncoder

from causalopt.backends.finite import FinitePolicy
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.simulation import TemplateWorld, World
from causalopt.simulation.grammar import SLOTS, sentences


@pytest.fixture(scope="module")
def world() -> TemplateWorld:
    return TemplateWorld(seed=0)


def naive_mean(world: TemplateWorld) -> np.ndarray:
    """E[Y | x], the mean outcome among the readers who were shown x, by Bayes' rule."""
    joint = np.exp(world.log_assignment)
    return (joint * world.outcome_mean).sum(0) / joint.sum(0)


def correlation(weight: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - weight @ a, b - weight @ b
    return float(weight @ (a * b) / np.sqrt((weight @ a**2) * (weight @ b**2)))


def test_sentences() -> None:
    texts, phrase = sentences()
    assert len(set(texts)) == len(texts) == 1800
    assert {len(text.split()) for text in texts} <= set(range(12, 19))
    assert all(
        list(SLOTS.values())[j][phrase[i, j]] in text for i, text in enumerate(texts) for j in range(phrase.shape[1])
    )


def test_it_is_a_world(world: TemplateWorld) -> None:
    assert isinstance(world, World)
    settings = world.describe()
    again = TemplateWorld(**{key: value for key, value in settings.items() if key != "name"})
    assert settings["name"] == "template"
    np.testing.assert_array_equal(again.dose_response, world.dose_response)
    assert not np.array_equal(TemplateWorld(seed=1).dose_response, world.dose_response)


@pytest.mark.parametrize("unmeasured", [0.0, 0.4])
def test_probabilities_sum_to_one_and_weights_average_to_one(unmeasured: float) -> None:
    world = TemplateWorld(unmeasured=unmeasured, seed=3)
    np.testing.assert_allclose(np.exp(world.log_assignment).sum(1), 1, atol=1e-12)
    assert np.exp(world.log_behavior).sum() == pytest.approx(1, abs=1e-12)
    given = world.log_assignment_given(world.readers)
    np.testing.assert_allclose(np.exp(given).sum(1), 1, atol=1e-12)
    s = np.exp(world.log_behavior - given)
    np.testing.assert_allclose((np.exp(world.log_assignment) * s).sum(1).mean(), 1, atol=1e-12)


def test_weighting_recovers_the_dose_response_exactly(world: TemplateWorld) -> None:
    """Mean over readers of p(x|w) s(x,w) m(x,w), divided by q(x), is g(x), sentence by sentence."""
    some = np.arange(0, 1800, 37)
    for i in some:
        texts = [world.texts[i]] * len(world.readers)
        s = world.true_stabilized_weight(texts, world.readers)
        mean = (np.exp(world.log_assignment[:, i]) * s * world.outcome_mean[:, i]).mean() / np.exp(
            world.log_behavior[i]
        )
        assert mean == pytest.approx(world.true_dose_response([world.texts[i]])[0], abs=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_naive_effects_have_the_wrong_sign(seed: int) -> None:
    world = TemplateWorld(confounding=1.0, seed=seed)
    q = np.exp(world.log_behavior)
    assert correlation(q, naive_mean(world), world.dose_response) < -0.6
    randomised = TemplateWorld(confounding=0.0, seed=seed)
    np.testing.assert_allclose(naive_mean(randomised), randomised.dose_response, atol=1e-9)
    s = randomised.true_stabilized_weight(randomised.texts[:400], randomised.readers)
    np.testing.assert_allclose(s, 1, atol=1e-12)


def test_the_worst_appeal_looks_best_in_a_sample(world: TemplateWorld) -> None:
    frame = world.sample_frame(20_000, seed=1)
    effect = pd.Series(world.dose_response).groupby(world_appeal(pd.Series(world.texts))).mean()
    naive = frame["response"].groupby(world_appeal(frame["text"])).mean()
    assert naive.idxmax() == effect.idxmin()
    assert naive.idxmin() == effect.idxmax()


def world_appeal(texts: pd.Series) -> pd.Series:
    return texts.map(lambda text: next(appeal for appeal in SLOTS["appeal"] if appeal in text))


def test_scale_of_the_problem(world: TemplateWorld) -> None:
    q = np.exp(world.log_behavior)
    mean = q @ world.dose_response
    assert mean == pytest.approx(5, abs=0.5)
    assert 0.7 < np.sqrt(q @ (world.dose_response - mean) ** 2) < 1.0


def test_samples_follow_the_law(world: TemplateWorld) -> None:
    """Chi-square of 1,800 counts (failure probability 1e-6) and z below 5 for weighted means (6e-7 each)."""
    n = 200_000
    reader, text, outcome = world.sample_indices(n, seed=5)
    assert chisquare(np.bincount(text, minlength=1800), n * np.exp(world.log_behavior)).pvalue > 1e-6
    assert chisquare(np.bincount(reader, minlength=400)).pvalue > 1e-6
    covariates = world.readers.iloc[reader]
    s = world.true_stabilized_weight([world.texts[i] for i in text], covariates)
    q, phrase = np.exp(world.log_behavior), sentences()[1]
    for appeal in range(5):
        shown = phrase[:, 1] == appeal
        terms = s * outcome * shown[text]
        z = (terms.mean() - (q * world.dose_response) @ shown) / (terms.std() / np.sqrt(n))
        assert abs(z) < 5
    noise = outcome - world.outcome_mean[reader, text]
    assert noise.std() == pytest.approx(1.0, abs=5 / np.sqrt(2 * n))


def test_dose_response_is_what_an_experiment_would_find(world: TemplateWorld) -> None:
    """Everybody is shown one text: |z| below 5 for each of 20 texts, failure probability 1.2e-5 in all."""
    n = 20_000
    for i in range(0, 1800, 90):
        reader, _, _ = world.sample_indices(n, seed=i)
        outcome = world.outcome_mean[reader, i]
        z = (outcome.mean() - world.dose_response[i]) / (outcome.std() / np.sqrt(n))
        assert abs(z) < 5


def naive_slope(world: TemplateWorld) -> float:
    """Slope of E[Y | x] on g(x) under q: 1 without confounding, negative when effects look reversed."""
    return float(
        LinearRegression().fit(world.dose_response[:, None], naive_mean(world), np.exp(world.log_behavior)).coef_[0]
    )


def ess_fraction(world: TemplateWorld) -> float:
    """1 / E[s^2], the share of the rows that the true weights leave."""
    s = np.exp(world.log_behavior - world.log_assignment)
    return float(1 / (np.exp(world.log_assignment) * s**2).sum(1).mean())


@pytest.mark.parametrize("seed", range(3))
def test_confounding_goes_from_none_to_sign_reversing(seed: int) -> None:
    slopes = [naive_slope(TemplateWorld(confounding=dial, seed=seed)) for dial in (0, 0.3, 0.65, 1.0, 1.5)]
    assert slopes[0] == pytest.approx(1, abs=1e-10)
    assert 0.3 < slopes[1] < 0.7
    assert abs(slopes[2]) < 0.05
    assert slopes[3] < -0.2
    assert slopes == sorted(slopes, reverse=True)


@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_overlap_thins_the_weights_and_leaves_the_naive_slope(confounding: float) -> None:
    full, thin, thinnest = (TemplateWorld(confounding=confounding, overlap=dial) for dial in (1.0, 0.5, 0.1))
    assert 0.75 * ess_fraction(full) > ess_fraction(thin) > 5 * ess_fraction(thinnest) > 0
    for world in (thin, thinnest):
        assert naive_slope(world) == pytest.approx(naive_slope(full), abs=0.05)


def test_dials() -> None:
    def additive_r2(world: TemplateWorld) -> float:
        phrases = OneHotEncoder().fit_transform(sentences()[1])
        return float(LinearRegression().fit(phrases, world.dose_response).score(phrases, world.dose_response))

    assert additive_r2(TemplateWorld(interaction=0.0)) == pytest.approx(1, abs=1e-10)
    assert additive_r2(TemplateWorld(interaction=0.5)) < 0.9

    def reader_by_text(world: TemplateWorld) -> float:
        m = world.outcome_mean
        return float((m - m.mean(0) - m.mean(1, keepdims=True) + m.mean()).std())

    assert reader_by_text(TemplateWorld(heterogeneity=0.0)) == pytest.approx(0, abs=1e-10)
    assert reader_by_text(TemplateWorld(heterogeneity=0.5)) == pytest.approx(0.5, abs=1e-10)
    assert TemplateWorld(noise=0.0).sample_frame(50, seed=0).shape == (50, 5)


def test_a_hidden_confounder_leaves_bias_after_exact_weighting() -> None:
    world = TemplateWorld(unmeasured=0.5, seed=0)
    s = np.exp(world.log_behavior - world.log_assignment_given(world.readers))
    weighted = (np.exp(world.log_assignment) * s * world.outcome_mean).mean(0) / np.exp(world.log_behavior)
    assert np.abs(weighted - world.dose_response).max() > 0.5
    residual_bias = weighted - world.dose_response
    assert correlation(np.exp(world.log_behavior), residual_bias, world.dose_response) < -0.9
    shown = world.readers["engagement"]
    assert shown.iloc[:400].to_numpy() == pytest.approx(shown.iloc[400:].to_numpy())


def test_sampling_is_reproducible_and_makes_a_data_set(world: TemplateWorld) -> None:
    pd.testing.assert_frame_equal(world.sample_frame(100, seed=1), world.sample_frame(100, seed=1))
    assert not world.sample_frame(100, seed=1).equals(world.sample_frame(100, seed=2))
    data = world.sample(300, seed=1, logged=True)
    assert list(data.covariates.columns) == ["engagement", "age", "region"]
    assert data.direction == "maximize"
    assert data.behavior_log_prob is not None
    assert data.assignment_log_prob is not None
    s = np.exp(data.behavior_log_prob - data.assignment_log_prob)
    np.testing.assert_allclose(s, world.true_stabilized_weight(data.texts, data.covariates), rtol=1e-10)
    assert len(set(data.group)) == len(set(data.texts))
    assert world.sample(300, seed=1).behavior_log_prob is None


class Leaky:
    """Half of its probability lies on texts that the world does not have."""

    def __init__(self, inside: FinitePolicy) -> None:
        self.inside = inside

    def log_prob(self, prompts: None, texts: list[str]) -> np.ndarray:
        return self.inside.log_prob(prompts, texts) - np.log(2)


def test_true_value_and_best_value(world: TemplateWorld) -> None:
    features = (world.dose_response - world.dose_response.mean())[:, None]
    reference = FinitePolicy(world.texts, world.log_behavior, features, np.zeros(1))
    policy = reference.with_theta(np.array([0.8]))
    start, end = world.true_value(reference), world.true_value(policy)
    assert start.value == pytest.approx(np.exp(world.log_behavior) @ world.dose_response, abs=1e-12)
    assert start.mass == pytest.approx(1, abs=1e-12)
    assert end.value == pytest.approx(policy.probability @ world.dose_response, abs=1e-12)
    leaky = world.true_value(Leaky(policy))
    assert leaky.value == pytest.approx(end.value, abs=1e-12)
    assert leaky.mass == pytest.approx(0.5, abs=1e-12)
    kl = world.kl(policy, reference)
    assert kl == pytest.approx((policy.probability * (policy.candidate_log_prob - world.log_behavior)).sum(), abs=1e-12)
    assert world.kl(policy, policy) == 0
    # The policy is the reference tilted by g itself, so that it is the best at its own KL.
    assert world.best_value(reference, kl) == pytest.approx(end.value, abs=1e-9)
    assert world.best_value(reference, 0.0) == pytest.approx(start.value, abs=1e-12)
    assert world.best_value(reference, 100.0) == pytest.approx(world.dose_response.max(), abs=1e-12)


def test_bad_input(world: TemplateWorld) -> None:
    for setting in ({"overlap": 0.0}, {"confounding": -1}, {"unmeasured": 1.5}, {"noise": np.nan}, {"readers": 1}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            TemplateWorld(**setting)
    with pytest.raises(ConfigError, match="at least one row"):
        world.sample_indices(0, seed=0)
    with pytest.raises(DataError, match="Give me money"):
        world.true_dose_response(["Give me money"])
    with pytest.raises(DataError, match="'region'"):
        world.true_stabilized_weight(world.texts[:2], world.readers.iloc[:2].drop(columns="region"))
    nowhere = FinitePolicy(world.texts, np.zeros(1800), np.ones((1800, 1)), np.zeros(1))
    nowhere.candidate_log_prob = np.full(1800, -np.inf)
    with pytest.raises(ModelError, match="no probability"):
        world.true_value(nowhere)
