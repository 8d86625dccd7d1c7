"""The two data sets against the formulas of the docstring, and what an outcome model learns from each.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import chisquare

import causalopt as co
from causalopt.backends.finite import FinitePolicy
from causalopt.errors import ConfigError, DataError
from causalopt.simulation import ContaminatedWorld, TemplateWorld, TwoSampleWorld, World


@pytest.fixture(scope="module")
def world() -> ContaminatedWorld:
    return ContaminatedWorld(seed=0)


def slope(world: ContaminatedWorld) -> float:
    g, q = world.dose_response, np.exp(world.log_behavior)
    centred = g - q @ g
    return float((q * centred) @ world.contaminated_mean(world.texts) / ((q * centred) @ g))


def test_it_is_a_world_of_two_data_sets(world: ContaminatedWorld) -> None:
    assert isinstance(world, World)
    assert isinstance(world, TwoSampleWorld)
    assert not isinstance(TemplateWorld(), TwoSampleWorld)
    again = ContaminatedWorld(**{key: value for key, value in world.describe().items() if key != "name"})
    np.testing.assert_array_equal(again.contaminated_mean(world.texts), world.contaminated_mean(world.texts))


def test_the_law_is_the_documented_one() -> None:
    """Without an interaction g - 5 is the attributes' weighted sum itself."""
    world = ContaminatedWorld(beta=1.5, strength=0.8, interaction=0.0, seed=4)
    g = world.dose_response
    score = -(g - g.mean()) / g.std()
    probability = 1 / (1 + np.exp(-0.8 * score))
    expected = probability * (g + 1.5) + (1 - probability) * (g - 1.5)
    np.testing.assert_allclose(world.contaminated_mean(world.texts), expected, atol=1e-12)
    np.testing.assert_allclose(expected - g, 1.5 * np.tanh(0.8 * score / 2), atol=1e-12)


def test_the_rows_of_the_experiment_are_randomised(world: ContaminatedWorld) -> None:
    """Chi-square of 1,800 counts: failure probability 1e-6; |z| below 5: 6e-7."""
    n = 200_000
    data = world.sample(n, seed=1)
    index = world.index_of(data.texts)
    assert chisquare(np.bincount(index, minlength=1800), n * np.exp(world.log_behavior)).pvalue > 1e-6
    np.testing.assert_allclose(world.true_stabilized_weight(data.texts, data.covariates), 1, atol=1e-12)
    noise = data.outcome - world.true_dose_response(data.texts)
    assert abs(noise.mean()) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(noise, world.dose_response[index])[0, 1]) < 5 / np.sqrt(n)


def test_the_second_data_set_has_the_contaminated_mean(world: ContaminatedWorld) -> None:
    """|z| below 5 in each of ten tenths of the sentences, ordered by g: failure probability 6e-6 in all."""
    n = 200_000
    data = world.sample_outcome_data(n, seed=1)
    index = world.index_of(data.texts)
    assert chisquare(np.bincount(index, minlength=1800), n * np.exp(world.log_behavior)).pvalue > 1e-6
    rest = data.outcome - world.contaminated_mean(data.texts)
    tenth = np.argsort(np.argsort(world.dose_response))[index] // 180
    for part in range(10):
        inside = rest[tenth == part]
        assert abs(inside.mean()) < 5 * inside.std() / np.sqrt(len(inside))
    wrong = data.outcome - world.true_dose_response(data.texts)
    assert abs(wrong[tenth == 0].mean()) > 20 * wrong.std() / np.sqrt((tenth == 0).sum())


@pytest.mark.parametrize("seed", range(3))
def test_dials_from_honest_to_sign_reversing(seed: int) -> None:
    for honest in ({"beta": 0.0}, {"strength": 0.0}):
        world = ContaminatedWorld(**honest, seed=seed)
        np.testing.assert_allclose(world.contaminated_mean(world.texts), world.dose_response, atol=1e-12)
    assert slope(ContaminatedWorld(seed=seed)) < -0.5
    by_beta = [slope(ContaminatedWorld(beta=beta, seed=seed)) for beta in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    by_strength = [slope(ContaminatedWorld(strength=strength, seed=seed)) for strength in (0.0, 0.5, 1.0, 2.0)]
    assert by_beta == sorted(by_beta, reverse=True)
    assert by_strength == sorted(by_strength, reverse=True)


def test_the_correction_makes_up_for_a_contaminated_outcome_model(world: ContaminatedWorld) -> None:
    """The value of a tilted policy: dr within five standard errors (6e-7); its outcome model says it does harm."""
    rows, other = world.sample(6000, seed=2), world.sample_outcome_data(6000, seed=2)
    estimator = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    pseudo = estimator.fit_transform(rows, outcome_data=other)
    features = (world.dose_response - world.dose_response.mean())[:, None]
    policy = FinitePolicy(world.texts, world.log_behavior, features, np.array([1.0]))
    log_ratio = policy.log_prob(None, rows.texts) - world.log_behavior[world.index_of(rows.texts)]
    g = pseudo.dose_response(world.texts)
    drawn = g[world.index_of(policy.sample(None, 20_000, seed=3))]
    truth = world.true_value(policy).value
    assert policy.probability @ g < world.true_value(policy.with_theta(np.zeros(1))).value < truth - 0.4
    dr = co.evaluation.dr(log_ratio, pseudo.xi, pseudo.g, drawn)
    assert abs(dr.value - truth) < 5 * dr.se


def test_rows_are_reproducible_and_the_data_sets_differ(world: ContaminatedWorld) -> None:
    first, again = world.sample_outcome_data(50, seed=3), world.sample_outcome_data(50, seed=3)
    assert first.texts == again.texts
    np.testing.assert_array_equal(first.outcome, again.outcome)
    assert first.texts != world.sample_outcome_data(50, seed=4).texts
    assert first.texts != world.sample(50, seed=3).texts


def test_true_value_and_best_value(world: ContaminatedWorld) -> None:
    reference = FinitePolicy(world.texts, world.log_behavior, np.zeros((1800, 1)), np.zeros(1))
    best = log_softmax(world.log_behavior + world.dose_response / 0.9)
    policy = FinitePolicy(world.texts, best, np.zeros((1800, 1)), np.zeros(1))
    assert world.true_value(policy).value == pytest.approx(np.exp(best) @ world.dose_response, abs=1e-12)
    assert world.best_value(reference, world.kl(policy, reference)) == pytest.approx(world.value_of(best), abs=1e-9)


def test_bad_input(world: ContaminatedWorld) -> None:
    for setting in ({"strength": -1}, {"noise": np.nan}, {"beta": np.inf}, {"interaction": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            ContaminatedWorld(**setting)
    with pytest.raises(DataError, match="no prompts"):
        world.true_dose_response(world.texts[:1], ["Why?"])
