"""The policy over each prompt's own candidates, and the finite backend that fits it."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from causalopt.backends import load_policy
from causalopt.backends.conditional_logit import ConditionalLogitPolicy, log_shown
from causalopt.backends.contracts import ChoiceSetPolicy, PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend
from causalopt.backends.saved import name_backend
from causalopt.backends.text_features import TextFeatures
from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.population import CHOICE, FIXED
from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError
from causalopt.objectives.paper import DRCPO

EMBEDDER = {"name": "tfidf-svd", "dimensions": 3}
CANDIDATES = {
    "storm": ["roofs fly in storm", "storm hits coast", "calm after storm"],
    "vote": ["they voted", "a tie in vote"],
    "cup": ["cup won at last", "cup lost", "draw again", "cup postponed"],
}


def policy(seed: int = 0) -> ConditionalLogitPolicy:
    rng = np.random.default_rng(seed)
    sets = ChoiceSets.listed(CANDIDATES)
    embedding = TextFeatures.fit(EMBEDDER, list(sets.texts))
    features = embedding.of(sets.texts)
    theta = rng.normal(size=features.shape[1])
    return ConditionalLogitPolicy(sets, rng.normal(size=len(sets)), features, theta, embedding)


def test_probabilities_are_a_softmax_over_each_prompts_candidates():
    one = policy()
    assert isinstance(one, ChoiceSetPolicy)
    at = 0
    for prompt, texts in CANDIDATES.items():
        score = np.exp(one.log_base + one.features @ one.theta)[at : at + len(texts)]
        np.testing.assert_allclose(np.exp(one.log_prob([prompt] * len(texts), texts)), score / score.sum())
        at += len(texts)
    texts, log_prob, of_prompt = one.choices(["vote", "storm"])
    assert texts == CANDIDATES["vote"] + CANDIDATES["storm"]
    assert of_prompt.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(np.bincount(of_prompt, weights=np.exp(log_prob)), 1.0)


def test_draws_have_the_probabilities():
    """20,000 draws: a share is off by 4 standard errors with probability below 1e-4, for 5 shares."""
    one, n = policy(), 20_000
    drawn = one.sample(["storm", "vote"] * (n // 2), n, seed=1)
    for prompt, own in (("storm", drawn[::2]), ("vote", drawn[1::2])):
        texts, log_prob, _ = one.choices([prompt])
        share = np.array([own.count(text) for text in texts]) / len(own)
        assert np.abs(share - np.exp(log_prob)).max() < 4 * 0.5 / np.sqrt(len(own))


def test_new_prompts_are_answered_by_the_same_coefficients():
    one = policy()
    new = ChoiceSets.logged(["cup", "fair", "fair"], ["unknown", "cup at the fair", "storm at the fair"], np.ones(3))
    both = one.answering(new)
    assert len(both.sets) == len(one.sets) + 2  # the candidates of "cup" do not change
    np.testing.assert_array_equal(both.candidate_log_prob[:9], one.candidate_log_prob)
    score = np.exp(one.embedding.of(["cup at the fair", "storm at the fair"]) @ one.theta)
    found = np.exp(both.log_prob(["fair", "fair"], ["cup at the fair", "storm at the fair"]))
    np.testing.assert_allclose(found, score / score.sum())
    assert both.answering(new) is both


def test_a_saved_policy_gives_the_same_numbers_and_answers_new_prompts(tmp_path):
    one = policy()
    one.save(tmp_path / "policy")
    again = load_policy(tmp_path / "policy")
    assert isinstance(again, ConditionalLogitPolicy)
    np.testing.assert_array_equal(again.candidate_log_prob, one.candidate_log_prob)
    new = ChoiceSets.listed({"fair": ["cup at the fair", "storm at the fair"]})
    np.testing.assert_array_equal(again.answering(new).candidate_log_prob, one.answering(new).candidate_log_prob)


def test_an_embedder_that_gives_other_vectors_is_refused(tmp_path):
    policy().save(tmp_path)
    about = tmp_path / "conditional_logit.json"
    changed = json.loads(about.read_text())
    changed["embedder"] = {"name": "tfidf-svd", "dimensions": 3, "ngram_max": 1}
    about.write_text(json.dumps(changed))
    name_backend(tmp_path, "finite")
    again = load_policy(tmp_path)
    assert isinstance(again, ConditionalLogitPolicy)
    with pytest.raises(ModelError, match="the embedder gives other vectors"):
        again.answering(ChoiceSets.listed({"fair": ["cup at the fair", "storm at the fair"]}))


def test_the_base_is_the_share_of_the_exposure():
    sets = ChoiceSets(("a", "b", "c"), tuple("uvwxyz"), np.array([0, 2, 4, 6]), np.array([1.0, 3.0, 0, 0, 4.0, 0]))
    np.testing.assert_allclose(np.exp(log_shown(sets)), [0.25, 0.75, 0.5, 0.5, 2 / 3, 1 / 3])


def test_interpolated_is_the_geometric_path():
    end = policy()
    start = end.with_theta(np.zeros_like(end.theta))
    half = end.interpolated(start, 0.5)
    expected = np.exp(0.5 * start.candidate_log_prob + 0.5 * end.candidate_log_prob)
    expected /= np.bincount(end.segment, weights=expected)[end.segment]
    np.testing.assert_allclose(half.probability, expected)
    with pytest.raises(ModelError, match="a path only from a reference"):
        end.interpolated(policy(1), 0.5)


def problem_of(reference: ConditionalLogitPolicy, reward: np.ndarray, seed: int = 0) -> PolicyProblem:
    """Every candidate logged once, with its share as weight; the reward is the dose response."""
    sets = reference.sets
    prompts = [sets.prompts[c] for c in sets.segment]
    weight = reference.probability * np.array([1.0, 2.0, 4.0])[sets.segment]
    drawn = [[text] for text in reference.sample(prompts, len(prompts), seed)]

    def dose_response(texts, row):
        return reward[reference.index_of(texts, [prompts[i] for i in row])]

    sampled_g = dose_response([one[0] for one in drawn], np.arange(len(sets)))[:, None]
    nothing = np.zeros(len(sets))
    return PolicyProblem(
        list(sets.texts), prompts, reference.candidate_log_prob, nothing, reward, weight / weight.mean(),
        drawn, sampled_g, dose_response,
    )  # fmt: skip


def reference_of(backend: FiniteBackend) -> ConditionalLogitPolicy:
    sets = ChoiceSets.listed(CANDIDATES)
    prompts = [sets.prompts[c] for c in sets.segment]
    weight = np.random.default_rng(2).uniform(1, 3, len(sets))
    found = backend.reference(prompts, list(sets.texts), weight, seed=0, progress=Progress())
    assert isinstance(found, ConditionalLogitPolicy)
    return found


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_the_fit_maximises_the_exact_objective():
    """Against scipy on the objective written out: prompts by exposure, every candidate by its probability."""
    from scipy.optimize import minimize

    backend = FiniteBackend("per_prompt", embedder=EMBEDDER, l2=0.05, max_kl=None)
    reference = reference_of(backend)
    reward = np.random.default_rng(3).normal(size=len(reference.sets))
    problem = problem_of(reference, reward)
    share = np.bincount(reference.segment, weights=problem.weight)
    share = (share / share.sum())[reference.segment]

    def loss(theta):
        log_p = reference.with_theta(theta).candidate_log_prob
        log_ratio = log_p - reference.candidate_log_prob
        value = share @ (np.exp(log_p) * (reward - 0.2 * log_ratio)) + 0.1 * share @ (reference.probability * log_ratio)
        return -value + 0.025 * theta @ theta

    expected = minimize(loss, np.zeros_like(reference.theta), tol=1e-12).x
    found = backend.fit(
        problem, DRCPO(kl=0.2, forward_kl=0.1), reference=reference, seed=0, progress=Progress()
    )  # fmt: skip
    np.testing.assert_allclose(found.theta, expected, atol=1e-4)


def test_the_path_goes_to_max_kl_or_says_what_holds_it():
    backend = FiniteBackend("per_prompt", embedder=EMBEDDER, l2=1e-4, max_kl=0.3)
    reference = reference_of(backend)
    problem = problem_of(reference, 3 * np.random.default_rng(3).normal(size=len(reference.sets)))
    share = np.bincount(reference.segment, weights=problem.weight)
    share = (share / share.sum())[reference.segment]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = backend.fit(
            problem, DRCPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress()
        )  # fmt: skip
    kl = share @ (found.probability * (found.candidate_log_prob - reference.candidate_log_prob))
    assert 0.27 < kl <= 0.3
    with pytest.warns(CausalOptWarning, match=r"before backend.max_kl = 0.3: objective.kl = 5 and .* lower them"):
        backend.fit(problem, DRCPO(kl=5.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress())


def test_whose_the_candidates_are_follows_the_data_and_the_setting():
    sets = ChoiceSets.listed(CANDIDATES)
    texts = list(sets.texts)
    assert FiniteBackend().with_candidates(texts, sets).population == CHOICE
    assert FiniteBackend("shared").with_candidates(texts, sets).population == FIXED
    crossed = ChoiceSets.listed(dict.fromkeys(CANDIDATES, texts))
    assert FiniteBackend().with_candidates(texts, crossed).population == FIXED
    assert FiniteBackend("per_prompt").with_candidates(texts, crossed).population == CHOICE
    assert FiniteBackend(CANDIDATES).with_candidates(texts, sets).population == CHOICE
    with pytest.raises(ConfigError, match="per_prompt needs prompts"):
        FiniteBackend("per_prompt").with_candidates(texts)
    with pytest.raises(DataError, match="'unknown' is not among the 2 candidates of prompt 'vote'"):
        FiniteBackend(CANDIDATES).reference(["vote"], ["unknown"], np.ones(1), seed=0, progress=Progress())
    with pytest.raises(DataError, match="a prompt with two candidates"):
        FiniteBackend("per_prompt").with_candidates(["a", "b"], ChoiceSets.listed({"x": ["a"], "y": ["b"]}))
