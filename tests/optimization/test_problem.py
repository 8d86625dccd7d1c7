"""The boundary between estimation and optimisation: orientation, centring and scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset, PseudoOutcomeEstimator
from causalopt.behavior import behavior_log_prob
from causalopt.errors import ConfigError, DataError
from causalopt.optimization.problem import draw_samples, policy_problem

WORDS = ("help", "give", "act", "join"), ("now", "soon", "please", "today")
TEXTS = [f"{a} {b}" for a in WORDS[0] for b in WORDS[1]]


class Echo:
    """A policy that writes its prompts back, or numbers, so that a test sees who answered whom."""

    def sample(self, prompts, n, seed):
        return [f"text {i}" for i in range(n)] if prompts is None else [f"re {prompt}" for prompt in prompts]

    def log_prob(self, prompts, texts):
        return np.array([-float(len(text)) for text in texts])


def dataset(direction="maximize", prompts=False):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 160), "weight": rng.uniform(1, 3, 160)})
    frame["outcome"] = 10 + 5 * frame["text"].str.contains("please") + rng.normal(size=160)
    frame["prompt"] = [f"q{i % 3}" for i in range(160)]
    roles = {"prompt": "prompt"} if prompts else {}
    return DirectOutcomeDataset.from_frame(frame, weight="weight", direction=direction, **roles)


@pytest.fixture(scope="module")
def pseudo():
    return {
        d: PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(dataset(d)) for d in ("maximize", "minimize")
    }


def test_rewards_are_centred_and_in_standard_deviations_of_the_outcome(pseudo):
    found = pseudo["maximize"]
    data = found.dataset
    problem = policy_problem(found, np.zeros(len(data)), [[text] for text in data.texts])
    mean = np.average(data.outcome, weights=data.weight)
    scale = np.sqrt(np.average((data.outcome - mean) ** 2, weights=data.weight))
    assert problem.residual * scale == pytest.approx(found.residual)
    assert problem.g * scale == pytest.approx(found.g - np.average(found.g, weights=data.weight))
    assert np.average(problem.g, weights=problem.weight) == pytest.approx(0, abs=1e-12)
    assert problem.weight.mean() == pytest.approx(1)
    assert np.corrcoef(problem.sampled_g[:, 0], problem.g)[0, 1] > 0.9


def test_what_a_second_stage_leaves_out_is_noise_of_the_problem(pseudo):
    """Residual and noise add up to the residuals themselves, oriented and scaled alike."""
    for found in pseudo.values():
        behavior = np.zeros(160)
        plain = policy_problem(found, behavior, None)
        smoothed = policy_problem(found, behavior, None, second_stage="ridge-text")
        assert plain.noise is None
        assert np.abs(smoothed.noise).max() > 0.1
        assert smoothed.residual + smoothed.noise == pytest.approx(plain.residual)


def test_minimising_turns_the_sign_of_every_reward_and_of_nothing_else(pseudo):
    behavior = -np.arange(160.0)
    up, down = (policy_problem(found, behavior, [[text] for text in found.dataset.texts]) for found in pseudo.values())
    for name in ("residual", "g", "sampled_g"):
        assert getattr(up, name) == pytest.approx(-getattr(down, name))
    assert np.array_equal(up.weight, down.weight)
    assert np.array_equal(up.behavior_log_prob, behavior)


def test_draws_answer_their_row_s_prompt():
    data = dataset(prompts=True)
    samples = draw_samples(Echo(), data, per_row=2, seed=0)
    assert samples == [[f"re {prompt}"] * 2 for prompt in data.prompts]


def test_a_pool_is_spread_evenly():
    samples = draw_samples(Echo(), dataset(), per_row=2, seed=0, pool=40)
    counts = pd.Series([text for row in samples for text in row]).value_counts()
    assert len(counts) == 40
    assert set(counts) == {8}


def test_the_behavior_policy_is_the_logged_one_where_there_is_one():
    frame = pd.DataFrame({"text": ["a", "bb"], "outcome": [0, 1], "log_q": [-1.5, -2.5]})
    logged = DirectOutcomeDataset.from_frame(frame, behavior_log_prob="log_q")
    plain = DirectOutcomeDataset.from_frame(frame)
    assert behavior_log_prob(logged, Echo()).tolist() == [-1.5, -2.5]
    assert behavior_log_prob(logged, Echo(), "reference").tolist() == [-1, -2]
    assert behavior_log_prob(plain, Echo()).tolist() == [-1, -2]
    with pytest.raises(ConfigError, match="needs a column behavior_log_prob"):
        behavior_log_prob(plain, Echo(), "logged")
    with pytest.raises(ConfigError, match="a reference policy is needed"):
        behavior_log_prob(plain, None)


def test_a_training_part_whose_outcomes_are_all_equal_is_named():
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "outcome": [0.1] * 39 + [1.0]})
    data = DirectOutcomeDataset.from_frame(frame)
    train = next(part for part in (data.split(0.3, seed)[0] for seed in range(40)) if np.ptp(part.outcome) == 0)
    found = PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(train)
    with pytest.raises(DataError, match=r"frame: all outcomes of the 28 training rows are 0\.1, .* use another seed"):
        policy_problem(found, np.zeros(28), None)


def test_with_prompts_the_level_of_the_reader_is_in_no_reward():
    """Readers of kind 1 respond higher by ten whatever they read, and their own response to a text is what is left."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 300), "kind": rng.integers(0, 2, 300)})
    frame["prompt"] = [f"q{i % 30}" for i in range(300)]
    good = frame["text"].str.contains("please")
    frame["outcome"] = 10.0 * frame["kind"] + (1 + frame["kind"]) * good + 0.1 * rng.normal(size=300)
    data = DirectOutcomeDataset.from_frame(frame, prompt="prompt", covariates=["kind"])
    found = PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized").fit_transform(data)
    problem = policy_problem(found, np.zeros(300), [["help please", "help now"] for _ in range(300)])
    sampled = problem.sampled_g * data.outcome.std()
    effect = 1.0 + frame["kind"].to_numpy()
    assert sampled == pytest.approx(0.5 * np.column_stack([effect, -effect]), abs=0.2)
    rows = np.arange(300)
    assert problem.dose_response(["help please"] * 300, rows) == pytest.approx(problem.sampled_g[:, 0])
