from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LinearRegression

from causalopt.backends.finite import FinitePolicy
from causalopt.errors import ConfigError, DataError
from causalopt.simulation import FiniteWorld, World
from causalopt.simulation.tilting import kl_divergence


@pytest.fixture(scope="module")
def world() -> FiniteWorld:
    return FiniteWorld(seed=0)


def test_it_is_a_world(world: FiniteWorld) -> None:
    assert isinstance(world, World)
    again = FiniteWorld(**{key: value for key, value in world.describe().items() if key != "name"})
    np.testing.assert_array_equal(again.dose_response, world.dose_response)
    assert world.texts[17] == "text 017"


def test_the_law_is_the_documented_one(world: FiniteWorld) -> None:
    """Written out for one reader and one text at a time, from the docstring."""
    phi, w = world.embedding, world.readers.to_numpy()
    np.testing.assert_allclose(phi.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(phi.T @ phi / len(phi), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(np.exp(world.log_assignment).sum(1), 1, atol=1e-12)
    tilt = world.log_assignment + 0.7 * np.outer(w[:, 0], phi[:, 0])
    tilt -= tilt.mean(1, keepdims=True)
    np.testing.assert_allclose(tilt, np.broadcast_to(tilt[0], tilt.shape), atol=1e-10)
    m = world.outcome_mean - 1.5 * w[:, :1] - 0.5 * w[:, 1:] - 0.3 * np.outer(w[:, 0], phi[:, 1])
    np.testing.assert_allclose(m, np.broadcast_to(m[0], m.shape), atol=1e-10)
    np.testing.assert_allclose(world.dose_response, m[0], atol=1e-10)
    curved = m[0] - 0.5 * (phi[:, 0] ** 2 - 1) / np.sqrt(2)
    fit = LinearRegression().fit(phi, curved)
    assert fit.score(phi, curved) == pytest.approx(1, abs=1e-12)
    assert fit.intercept_ == pytest.approx(5)
    assert fit.coef_[0] == pytest.approx(0.42)


@pytest.mark.parametrize("seed", range(3))
def test_the_naive_slope_has_the_wrong_sign(seed: int) -> None:
    world = FiniteWorld(seed=seed)
    joint = np.exp(world.log_assignment)
    naive = (joint * world.outcome_mean).sum(0) / joint.sum(0)
    q, first = np.exp(world.log_behavior), world.embedding[:, :1]
    assert LinearRegression().fit(first, naive, q).coef_[0] < -0.1
    assert LinearRegression().fit(first, world.dose_response, q).coef_[0] > 0.1


def test_weighted_sample_means_recover_the_value(world: FiniteWorld) -> None:
    """|z| below 5: failure probability 6e-7; the unweighted mean is many standard errors away."""
    n, policy = 200_000, world.policy(np.array([0.5, 0.3, 0.0, 0.0]))
    sample = world.sample_arrays(n, seed=4)
    texts = [world.texts[i] for i in sample.text]
    rho = np.exp(policy.log_prob(None, texts) - world.log_behavior[sample.text])
    s = world.true_stabilized_weight(texts, world.readers.iloc[sample.reader])
    truth = world.true_value(policy).value

    def z(terms: np.ndarray) -> float:
        return float((terms.mean() - truth) / (terms.std() / np.sqrt(n)))

    assert abs(z(rho * s * sample.y)) < 5
    assert abs(z(rho * sample.y)) > 20


def test_value_is_a_dot_product(world: FiniteWorld) -> None:
    theta = np.array([0.4, -0.2, 0.1, 0.0])
    policy = world.policy(theta)
    direct = softmax(world.log_behavior + world.embedding @ theta) @ world.dose_response
    assert world.true_value(policy).value == pytest.approx(direct, abs=1e-12)
    assert world.value_of(policy.candidate_log_prob) == pytest.approx(direct, abs=1e-12)


def test_best_value_against_a_constrained_optimiser() -> None:
    world = FiniteWorld(texts=10, dimensions=2, covariates=1, readers=20, seed=1)
    reference = world.policy(np.zeros(2))
    found = minimize(
        lambda logits: -softmax(logits) @ world.dose_response,
        world.log_behavior,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: 0.3 - kl_divergence(log_softmax(x), world.log_behavior)},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert world.best_value(reference, 0.3) == pytest.approx(-found.fun, abs=1e-5)


def test_rows_arrays_and_embedder_agree(world: FiniteWorld) -> None:
    data, arrays = world.sample(200, seed=3), world.sample_arrays(200, seed=3)
    np.testing.assert_array_equal(data.outcome, arrays.y)
    np.testing.assert_array_equal(data.covariates.to_numpy(), arrays.w)
    vectors = world.embedder().fit(data.texts).transform(data.texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, arrays.x, rtol=1e-6)
    with pytest.raises(DataError, match="'text 999'"):
        world.embedder().transform(["text 999"])


def test_without_confounding_every_weight_is_one() -> None:
    world = FiniteWorld(confounding=0.0, seed=2)
    np.testing.assert_allclose(world.true_stabilized_weight(world.texts[:200], world.readers), 1, atol=1e-12)


def test_readers_outside_the_population_have_weights_too(world: FiniteWorld) -> None:
    stranger = pd.DataFrame({"w1": [0.0], "w2": [3.0]})
    base = world.log_assignment_given(stranger)[0]
    expected = np.exp(world.log_behavior - base)
    np.testing.assert_allclose(
        world.true_stabilized_weight(world.texts, pd.concat([stranger] * 300, ignore_index=True)), expected
    )


def test_bad_dials() -> None:
    for setting in ({"dimensions": 1}, {"texts": 5}, {"covariates": 0}, {"noise": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            FiniteWorld(**setting)


def test_policy_is_a_finite_policy(world: FiniteWorld) -> None:
    policy = world.policy(np.zeros(4))
    assert isinstance(policy, FinitePolicy)
    np.testing.assert_allclose(policy.candidate_log_prob, world.log_behavior, atol=1e-12)
