"""Logged traffic: sums written out from the docstring, and samples of exchanges with readers who choose what they rate.

The statistical tests have a fixed seed; were it drawn anew, each would fail with the probability that it states.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import chisquare

from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.simulation import LoggedTrafficWorld, World
from causalopt.simulation.phrase_model import PhraseModel
from causalopt.simulation.traffic_world import PROMPTS, SLOTS

SIZES = [len(phrases) for phrases in SLOTS.values()]


@pytest.fixture(scope="module")
def world() -> LoggedTrafficWorld:
    return LoggedTrafficWorld(seed=0)


def random_policy(seed: int) -> PhraseModel:
    rng = np.random.default_rng(seed)
    shapes = zip([1, *SIZES], SIZES, strict=False)
    return PhraseModel(PROMPTS, SLOTS, [rng.normal(size=(len(PROMPTS), *shape)) for shape in shapes])


def prompt_probability() -> np.ndarray:
    share = 1 / np.arange(1, 7)
    return share / share.sum()


def naive_mean(world: LoggedTrafficWorld) -> np.ndarray:
    joint = np.exp(world.log_assignment)
    return np.asarray((joint * world.outcome_mean).sum(0) / joint.sum(0)).reshape(6, -1)


def naive_slope(world: LoggedTrafficWorld) -> float:
    """Of E[Y | c, x, rated] on g(c, x), within prompts, under the model."""
    q = np.exp(world.language_model.log_prob_table) * prompt_probability()[:, None]
    g = world.dose_response.reshape(6, -1)
    centred = g - (q * g).sum(1, keepdims=True) / q.sum(1, keepdims=True)
    return float((q * centred * naive_mean(world)).sum() / (q * centred * g).sum())


def test_it_is_a_world(world: LoggedTrafficWorld) -> None:
    assert isinstance(world, World)
    assert world.prompts == list(PROMPTS)
    assert len(world.texts) == 240
    again = LoggedTrafficWorld(**{key: value for key, value in world.describe().items() if key != "name"})
    np.testing.assert_array_equal(again.outcome_mean, world.outcome_mean)


def test_rated_rows_are_like_all_rows_but_for_the_dependence(world: LoggedTrafficWorld) -> None:
    """The marginal of prompt and text is that of the model; given the reader it is what the docstring says."""
    q = np.exp(world.language_model.log_prob_table) * prompt_probability()[:, None]
    np.testing.assert_allclose(np.exp(world.log_behavior), q.ravel(), rtol=1e-10)
    p = np.exp(world.log_assignment)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    e = world.readers["engagement"].to_numpy()
    change = (p / q.ravel() - 1) / np.where(np.abs(e) > 0.05, e, np.nan)[:, None]
    kappa_b = np.nanmean(change, axis=0).reshape(6, -1)
    np.testing.assert_allclose(p, q.ravel() * (1 + np.outer(e, kappa_b.ravel())), atol=1e-12)
    assert np.abs(np.outer(e, kappa_b)).max() == pytest.approx(0.9, abs=1e-9)
    np.testing.assert_allclose((q * kappa_b).sum(1), 0, atol=1e-12)
    for row, g in zip(kappa_b, world.dose_response.reshape(6, -1), strict=True):
        order = np.argsort(g)
        assert (np.diff(row[order]) < 1e-12).all()  # falls in the effect


@pytest.mark.parametrize("unmeasured", [0.0, 0.5])
def test_weights_average_to_one_and_recover_the_dose_response_unless_something_is_hidden(unmeasured: float) -> None:
    world = LoggedTrafficWorld(unmeasured=unmeasured, seed=1)
    p = np.exp(world.log_assignment)
    s = np.exp(world.log_behavior - world.log_assignment_given(world.readers))
    assert (p * s).sum(1).mean() == pytest.approx(1, abs=1e-12)
    weighted = (p * s * world.outcome_mean).mean(0) / np.exp(world.log_behavior)
    error = np.abs(weighted - world.dose_response).max()
    assert error < 1e-9 if unmeasured == 0 else error > 0.3
    texts, prompts = world.texts[:4], [PROMPTS[2]] * 4
    one = world.true_stabilized_weight(texts, world.readers.iloc[:4], prompts)
    np.testing.assert_allclose(one, [s[i, 2 * 240 + i] for i in range(4)], rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_dials(seed: int) -> None:
    slopes = [naive_slope(LoggedTrafficWorld(confounding=dial, seed=seed)) for dial in (0.0, 0.5, 1.0)]
    assert slopes[0] == pytest.approx(1, abs=1e-10)
    assert 0.2 < slopes[1] < 0.7
    assert slopes[2] < -0.05

    def entropy(world: LoggedTrafficWorld) -> float:
        log_prob = world.language_model.log_prob_table
        return float(-(np.exp(log_prob) * log_prob).sum(1).mean())

    cool, warm = (LoggedTrafficWorld(temperature=dial, seed=seed) for dial in (0.3, 1.0))
    assert entropy(cool) < entropy(warm) - 1

    def prompt_by_text(world: LoggedTrafficWorld) -> float:
        g = world.dose_response.reshape(6, -1)
        return float((g - g.mean(0) - g.mean(1, keepdims=True) + g.mean()).std())

    assert prompt_by_text(LoggedTrafficWorld(interaction=0.0, seed=seed)) == pytest.approx(0, abs=1e-10)
    assert prompt_by_text(LoggedTrafficWorld(interaction=0.3, seed=seed)) == pytest.approx(0.3, abs=1e-10)

    def reader_by_cell(world: LoggedTrafficWorld) -> float:
        m = world.outcome_mean
        return float((m - m.mean(0) - m.mean(1, keepdims=True) + m.mean()).std())

    assert reader_by_cell(LoggedTrafficWorld(heterogeneity=0.0, seed=seed)) == pytest.approx(0, abs=1e-10)
    assert reader_by_cell(LoggedTrafficWorld(heterogeneity=0.4, seed=seed)) == pytest.approx(0.4, abs=1e-10)


def test_a_simulation_of_exchanges_gives_the_rows(world: LoggedTrafficWorld) -> None:
    """Exchange by exchange: model answers, reader rates or not. Rated rows have the world's law.

    |z| below 5 for the mean of e * (text is among the better half) and of the outcome: failure probability 1.2e-6.
    """
    rng = np.random.default_rng(7)
    n = 300_000
    prompt = rng.choice(6, size=n, p=prompt_probability())
    answers = world.language_model.sample([PROMPTS[i] for i in prompt], n, seed=8)
    position = {text: i for i, text in enumerate(world.texts)}
    cell = prompt * 240 + np.array([position[answer] for answer in answers])
    reader = rng.integers(len(world.readers), size=n)
    relative = np.exp(world.log_assignment - world.log_behavior)[reader, cell]  # 1 + kappa e b
    rated = rng.random(n) < 0.3 * relative
    assert rated.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / n))
    reader_, cell_, outcome = world.sample_indices(100_000, seed=9)
    e = world.readers["engagement"].to_numpy()
    better = world.dose_response > np.median(world.dose_response)
    for one, other in (
        (e[reader[rated]] * better[cell[rated]], e[reader_] * better[cell_]),
        (world.outcome_mean[reader, cell][rated], outcome),
    ):
        z = (one.mean() - other.mean()) / np.hypot(one.std() / np.sqrt(len(one)), other.std() / np.sqrt(len(other)))
        assert abs(z) < 5


def test_samples_keep_the_log_probabilities(world: LoggedTrafficWorld) -> None:
    """Chi-square of the prompts' counts: failure probability 1e-6; |z| below 5 for the value: 6e-7."""
    n = 100_000
    data = world.sample(n, seed=2)
    assert data.prompts is not None
    assert data.behavior_log_prob is not None
    assert data.assignment_log_prob is None
    np.testing.assert_allclose(
        data.behavior_log_prob, world.language_model.log_prob(data.prompts, data.texts), atol=1e-10
    )
    counts = pd.Series(data.prompts).value_counts().loc[list(PROMPTS)]
    assert chisquare(counts, n * prompt_probability()).pvalue > 1e-6
    policy = random_policy(3)
    s = world.true_stabilized_weight(data.texts, data.covariates, data.prompts)
    rho = np.exp(policy.log_prob(data.prompts, data.texts) - data.behavior_log_prob)
    truth = world.true_value(policy).value

    def z(terms: np.ndarray) -> float:
        return float((terms.mean() - truth) / (terms.std() / np.sqrt(n)))

    assert abs(z(rho * s * data.outcome)) < 5
    logged = world.sample(50, seed=2, logged=True)
    assert logged.assignment_log_prob is not None
    again = world.true_stabilized_weight(logged.texts, logged.covariates, logged.prompts)
    np.testing.assert_allclose(np.exp(logged.behavior_log_prob - logged.assignment_log_prob), again, rtol=1e-10)


def test_the_value_is_a_sum_over_prompts_and_answers(world: LoggedTrafficWorld) -> None:
    """Summed in loops; and by Monte Carlo from the policy's own samples, |z| below 5 (6e-7)."""
    policy = random_policy(1)
    value = 0.0
    for share, prompt in zip(prompt_probability(), PROMPTS, strict=True):
        for text in world.texts:
            g = world.true_dose_response([text], [prompt])[0]
            value += share * np.exp(policy.log_prob([prompt], [text])[0]) * g
    found = world.true_value(policy)
    assert found.value == pytest.approx(value, abs=1e-10)
    assert found.mass == pytest.approx(1, abs=1e-12)
    n = 50_000
    prompts = np.random.default_rng(0).choice(PROMPTS, size=n, p=prompt_probability()).tolist()
    g = world.true_dose_response(policy.sample(prompts, n, seed=1), prompts)
    assert abs(g.mean() - value) < 5 * g.std() / np.sqrt(n)
    kl = sum(
        share * (np.exp(p) * (p - q)).sum()
        for share, p, q in zip(
            prompt_probability(), policy.log_prob_table, world.language_model.log_prob_table, strict=True
        )
    )
    assert world.kl(policy, world.language_model) == pytest.approx(kl, abs=1e-10)


def test_the_best_value_shares_its_kl_among_the_prompts(world: LoggedTrafficWorld) -> None:
    """Against a constrained optimiser over a temperature for each prompt, which knows nothing of a common one."""
    log_q, g, share = world.language_model.log_prob_table, world.dose_response.reshape(6, -1), prompt_probability()

    def tilted(slopes: np.ndarray) -> np.ndarray:
        return log_softmax(log_q + slopes[:, None] * g, axis=1)

    def value(slopes: np.ndarray) -> float:
        return float(share @ (np.exp(tilted(slopes)) * g).sum(1))

    def kl(slopes: np.ndarray) -> float:
        log_p = tilted(slopes)
        return float(share @ (np.exp(log_p) * (log_p - log_q)).sum(1))

    found = minimize(
        lambda slopes: -value(slopes),
        np.linspace(0.5, 1.5, 6),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda slopes: 0.4 - kl(slopes)},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    best = world.best_value(world.language_model, 0.4)
    assert best == pytest.approx(-found.fun, abs=1e-6)
    assert best > world.true_value(world.language_model).value + 0.3
    assert world.best_value(world.language_model, 0.0) == pytest.approx(world.true_value(world.language_model).value)


class Half:
    """Half of its probability lies on texts that the world does not have."""

    def log_prob(self, prompts: list[str], texts: list[str]) -> np.ndarray:
        return random_policy(1).log_prob(prompts, texts) - np.log(2)


class Mute:
    """Never gives one of the world's answers to the third prompt."""

    def log_prob(self, prompts: list[str], texts: list[str]) -> np.ndarray:
        return np.where(np.array(prompts) == PROMPTS[2], -np.inf, -5.0)


def test_mass_outside(world: LoggedTrafficWorld) -> None:
    half = world.true_value(Half())
    assert half.mass == pytest.approx(0.5, abs=1e-12)
    assert half.value == pytest.approx(world.true_value(random_policy(1)).value, abs=1e-12)
    with pytest.raises(ModelError, match="given 'My invoice looks wrong"):
        world.true_value(Mute())


def test_bad_input(world: LoggedTrafficWorld) -> None:
    for setting in ({"confounding": 1.2}, {"temperature": 0.0}, {"noise": -1}, {"readers": 1}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            LoggedTrafficWorld(**setting)
    with pytest.raises(DataError, match="give one for each text"):
        world.true_dose_response(world.texts[:2])
    with pytest.raises(DataError, match="no prompt 'Why"):
        world.true_dose_response(world.texts[:1], ["Why?"])
    stranger = world.readers.iloc[:1].assign(engagement=5.0)
    with pytest.raises(DataError, match="outside the world's population"):
        world.true_stabilized_weight(world.texts[:1], stranger, [PROMPTS[0]])
