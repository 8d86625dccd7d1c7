"""The world of voluntary feedback against the formulas of its docstring.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import causalopt as co
from causalopt.errors import ConfigError
from causalopt.simulation import TemplateWorld, VoluntaryFeedbackWorld, World
from causalopt.testing import check_world


@pytest.fixture(scope="module")
def world() -> VoluntaryFeedbackWorld:
    return VoluntaryFeedbackWorld(seed=0)


def test_it_is_a_world_and_registered(world: VoluntaryFeedbackWorld) -> None:
    assert isinstance(world, World)
    check_world(world)
    again = co.plugins.worlds.create(world.describe())
    assert again.sample(50, 1).fingerprint() == world.sample(50, 1).fingerprint()


def test_who_responds_follows_the_documented_law(world: VoluntaryFeedbackWorld) -> None:
    g, q = world.dose_response, np.exp(world.log_behavior)
    appeal = 1 - (g - g.mean()) / g.std()
    engagement = world.readers["engagement"].to_numpy()
    table = np.stack(
        [world.true_response_probability([text] * len(engagement), world.readers) for text in world.texts[:50]], axis=1
    )
    level = np.log(table / (1 - table)) - 0.7 * np.outer(engagement, appeal[:50])
    assert np.ptp(level) < 1e-9
    everywhere = expit(level[0, 0] + 0.7 * np.outer(engagement, appeal))
    assert float(everywhere.mean(axis=0) @ q) == pytest.approx(0.3, abs=1e-9)
    data = world.sample(20000, seed=3)
    pi = world.true_response_probability(data.texts, data.covariates)
    # Five standard errors: a true law fails with probability 6e-7.
    for part in (pi < 0.2, (pi >= 0.2) & (pi < 0.5), pi >= 0.5):
        error = np.sqrt(np.sum(pi[part] * (1 - pi[part]))) / part.sum()
        assert abs(data.rated[part].mean() - pi[part].mean()) < 5 * error


def test_the_truth_is_that_of_all_readers(world: VoluntaryFeedbackWorld) -> None:
    everybody = TemplateWorld(confounding=0.0, seed=0)
    np.testing.assert_array_equal(world.dose_response, everybody.dose_response)
    data = world.sample(20000, seed=4)
    pi = world.true_response_probability(data.texts, data.covariates)
    truth = world.value_of(world.log_behavior)
    y = np.where(data.rated, data.outcome, 0.0)
    weighted = data.rated * y / pi
    # Inverse-probability weights recover the value (five standard errors: 6e-7); the mean of those who respond is off.
    assert abs(weighted.mean() - truth) < 5 * weighted.std() / np.sqrt(len(pi))
    assert data.outcome[data.rated].mean() > truth + 0.5


def test_delta_is_the_difference_between_those_who_respond_and_those_who_do_not() -> None:
    """The same rows with another delta: within text and reader it moves those who respond up by delta (1 - pi)."""
    plain, moved = VoluntaryFeedbackWorld(seed=0), VoluntaryFeedbackWorld(delta=2.0, seed=0)
    a, b = plain.sample(500, 1), moved.sample(500, 1)
    np.testing.assert_array_equal(a.rated, b.rated)
    pi = plain.true_response_probability(a.texts, a.covariates)
    np.testing.assert_allclose((b.outcome - a.outcome)[a.rated], (2.0 * (1 - pi))[a.rated])
    np.testing.assert_array_equal(plain.dose_response, moved.dose_response)


@pytest.mark.parametrize(
    ("dial", "value"), [("response", 0.0), ("response", 1.0), ("selectivity", -1), ("delta", np.nan)]
)
def test_a_dial_out_of_range(dial: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"voluntary-feedback world: {dial}"):
        VoluntaryFeedbackWorld(**{dial: value})
