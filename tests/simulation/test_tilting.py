from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from causalopt.errors import ConfigError
from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt


def random_reference(k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return log_softmax(rng.normal(size=k)), rng.normal(size=k)


@pytest.mark.parametrize("kl", [1e-8, 1e-4, 0.01, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("k", [3, 50, 2000])
def test_kl_is_met_to_1e_8(k: int, kl: float) -> None:
    log_prob, g = random_reference(k, seed=k)
    most = kl_divergence(tilt(log_prob, g, 0.0), log_prob)
    best = tilt(log_prob, g, temperature_at(log_prob, g, kl))
    assert np.exp(best).sum() == pytest.approx(1, abs=1e-12)
    assert kl_divergence(best, log_prob) == pytest.approx(min(kl, most), abs=1e-8, rel=1e-6)


@pytest.mark.parametrize("kl", [0.05, 0.4])
def test_no_other_distribution_does_better(kl: float) -> None:
    """Against a constrained optimiser that knows nothing of tilting, and against random distributions."""
    log_prob, g = random_reference(6, seed=1)
    value = float(np.exp(tilt(log_prob, g, temperature_at(log_prob, g, kl))) @ g)

    def divergence(logits: np.ndarray) -> float:
        return kl_divergence(log_softmax(logits), log_prob)

    found = minimize(
        lambda logits: -softmax(logits) @ g,
        log_prob,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda logits: kl - divergence(logits)},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert value == pytest.approx(-found.fun, abs=1e-5)
    logits = log_prob + np.random.default_rng(2).normal(scale=0.7, size=(20_000, 6))
    within = [row for row in logits if divergence(row) <= kl]
    assert len(within) > 100
    assert max(softmax(row) @ g for row in within) < value


def test_ends() -> None:
    log_prob, g = np.log([0.5, 0.25, 0.25]), np.array([0.0, 1.0, 1.0])
    assert temperature_at(log_prob, g, 0.0) == np.inf
    assert tilt(log_prob, g, np.inf) is log_prob
    assert temperature_at(log_prob, g, 5.0) == 0.0
    np.testing.assert_allclose(np.exp(tilt(log_prob, g, 0.0)), [0, 0.5, 0.5])
    assert temperature_at(log_prob, np.ones(3), 0.3) == np.inf, "nothing to choose between"


def test_texts_outside_the_reference_stay_out() -> None:
    log_prob, g = np.array([np.log(0.4), np.log(0.6), -np.inf]), np.array([0.0, 1.0, 100.0])
    best = tilt(log_prob, g, temperature_at(log_prob, g, 0.1))
    assert best[2] == -np.inf
    assert kl_divergence(best, log_prob) == pytest.approx(0.1, abs=1e-10)
    assert kl_divergence(log_softmax(np.zeros(3)), log_prob) == np.inf


@pytest.mark.parametrize("kl", [-0.1, np.nan])
def test_bad_kl(kl: float) -> None:
    with pytest.raises(ConfigError, match="not negative"):
        temperature_at(np.log([0.5, 0.5]), np.array([0.0, 1.0]), kl)
