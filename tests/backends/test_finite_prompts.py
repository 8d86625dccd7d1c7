"""The finite policy and backend with prompts, against softmaxes written out and a world whose truth is exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax
from scipy.stats import chisquare

from causalopt.backends import load_policy
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend, FinitePolicy, _Loss
from causalopt.backends.finite_features import finite_features
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import DataError
from causalopt.objectives.paper import DRCPO
from causalopt.simulation import LoggedTrafficWorld

PROMPTS = ["Is it open?", "Where are you?"]
TEXTS = ["Yes, all day.", "No, not today.", "By the river."]


def small_policy(seed: int = 0) -> FinitePolicy:
    rng = np.random.default_rng(seed)
    return FinitePolicy(TEXTS, rng.normal(size=6), rng.normal(size=(6, 2)), rng.normal(size=2), PROMPTS)


def oracle_problem(world: LoggedTrafficWorld, n: int, seed: int) -> PolicyProblem:
    """Rows with the residuals and dose response that an oracle knows, in outcome units."""
    data = world.sample(n, seed)
    assert data.prompts is not None
    assert data.behavior_log_prob is not None
    center = float(world.dose_response @ np.exp(world.log_behavior))
    g = world.true_dose_response(data.texts, data.prompts)
    s = world.true_stabilized_weight(data.texts, data.covariates, data.prompts)
    reader, cell, outcome = world.sample_indices(n, seed)
    drawn = world.language_model.sample(data.prompts, n, seed)
    return PolicyProblem(
        texts=data.texts,
        prompts=data.prompts,
        behavior_log_prob=data.behavior_log_prob,
        residual=s * (outcome - world.outcome_mean[reader, cell]),
        g=g - center,
        weight=np.ones(n),
        sampled_texts=[[text] for text in drawn],
        sampled_g=(world.true_dose_response(drawn, data.prompts) - center)[:, None],
    )


def test_policy_is_a_softmax_for_each_prompt(tmp_path: Path) -> None:
    policy = small_policy()
    scores = (policy.log_base + policy.features @ policy.theta).reshape(2, 3)
    weight = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found = policy.log_prob([PROMPTS[1], PROMPTS[0]], [TEXTS[2], TEXTS[0]])
    np.testing.assert_allclose(found, np.log([weight[1, 2], weight[0, 0]]), rtol=1e-12)
    policy.save(tmp_path)
    again = load_policy(tmp_path)
    assert isinstance(again, FinitePolicy)
    assert again.prompts == PROMPTS
    np.testing.assert_array_equal(again.candidate_log_prob, policy.candidate_log_prob)


def test_samples_follow_the_policy() -> None:
    """Chi-square for each prompt; the failure probability is 2e-6 (the seed is fixed)."""
    policy, n = small_policy(), 20_000
    prompts = [PROMPTS[i % 2] for i in range(n)]
    drawn = policy.sample(prompts, n, seed=1)
    for i, row in enumerate(policy.probability.reshape(2, 3)):
        counts = [drawn[i::2].count(text) for text in TEXTS]
        assert chisquare(counts, n / 2 * row).pvalue > 1e-6


def test_features_are_embeddings_and_their_products() -> None:
    """With as many components as prompts less one, any function of prompt times any linear one of text is linear."""
    world = LoggedTrafficWorld()
    features = finite_features(TfidfSvdEmbedder(dimensions=6), world.texts, world.prompts)
    phi = finite_features(TfidfSvdEmbedder(dimensions=6), world.texts, None)
    np.testing.assert_allclose(phi.mean(0), 0, atol=1e-6)
    own = np.zeros((6, 240))
    own[3] = phi[:, 2]
    left = own.ravel() - features @ np.linalg.lstsq(features, own.ravel(), rcond=None)[0]
    np.testing.assert_allclose(left, 0, atol=1e-6)


def test_the_gradient_and_the_kl_are_exact() -> None:
    world = LoggedTrafficWorld()
    problem = oracle_problem(world, 200, seed=1)
    backend = FiniteBackend(world.texts, embedder={"name": "tfidf-svd", "dimensions": 3})
    reference = backend.reference(problem.prompts, problem.texts, problem.weight, seed=0, progress=Progress())
    loss = _Loss(problem, DRCPO(kl=0.2), reference, l2=0.1)
    theta = np.random.default_rng(0).normal(size=reference.theta.size) * 0.2

    def value(at: np.ndarray) -> float:
        return loss.value_and_gradient(at, 0.3)[0]

    def gradient(at: np.ndarray) -> np.ndarray:
        return loss.value_and_gradient(at, 0.3)[1]

    assert check_grad(value, gradient, theta) < 1e-5
    # KL prompt by prompt, weighted by the rows that have it.
    log_p = log_softmax((reference.log_base + reference.features @ theta).reshape(-1, 240), axis=1)
    log_q = reference.candidate_log_prob.reshape(-1, 240)
    share = [problem.prompts.count(prompt) / 200 for prompt in reference.prompts]
    assert loss.exact_kl(theta) == pytest.approx(share @ (np.exp(log_p) * (log_p - log_q)).sum(1), abs=1e-12)


def test_with_the_true_nuisances_and_no_noise_it_gains_most_of_what_there_is() -> None:
    world = LoggedTrafficWorld(noise=0.0)
    problem = oracle_problem(world, 3000, seed=2)
    backend = FiniteBackend(world.texts)
    reference = backend.reference(problem.prompts, problem.texts, problem.weight, seed=0, progress=Progress())
    drawn = reference.sample(problem.prompts, 3000, seed=5)
    g = world.true_dose_response(drawn, problem.prompts) - np.exp(world.log_behavior) @ world.dose_response
    problem = replace(problem, sampled_texts=[[text] for text in drawn], sampled_g=g[:, None])
    policy = backend.fit(problem, DRCPO(kl=0.3), reference=reference, seed=0, progress=Progress())
    start, end = world.true_value(reference).value, world.true_value(policy).value
    assert (end - start) / (world.best_value(reference, world.kl(policy, reference)) - start) > 0.7


def test_rows_that_share_a_prompt_are_a_problem_without_prompts() -> None:
    """One prompt for all rows gives the policy that there is without any."""
    world = LoggedTrafficWorld()
    problem = oracle_problem(world, 300, seed=3)
    one = replace(problem, prompts=["Well?"] * 300)
    policies = []
    for each in (one, replace(problem, prompts=None)):
        backend = FiniteBackend(world.texts, l2=0.1)
        reference = backend.reference(each.prompts, each.texts, each.weight, seed=0, progress=Progress())
        policies.append(backend.fit(each, DRCPO(kl=0.3), reference=reference, seed=0, progress=Progress()))
    np.testing.assert_allclose(policies[0].candidate_log_prob, policies[1].candidate_log_prob, atol=1e-8)


def test_bad_input() -> None:
    policy = small_policy()
    with pytest.raises(DataError, match="give one for each of the 1 texts"):
        policy.log_prob(None, TEXTS[:1])
    with pytest.raises(DataError, match=r"knows the 2 prompts of its training rows, not 'Why\?'"):
        policy.sample(["Why?"], 1, seed=0)
    with pytest.raises(DataError, match="prompt 'a' is listed twice"):
        FinitePolicy(["x", "y"], np.zeros(4), np.zeros((4, 1)), np.zeros(1), ["a", "a"])
    with pytest.raises(DataError, match="2 candidates for 2 prompts need"):
        FinitePolicy(["x", "y"], np.zeros(2), np.zeros((2, 1)), np.zeros(1), ["a", "b"])
    many = [f"question {i}" for i in range(2000)]
    with pytest.raises(DataError, match="2000 prompts and 2000 candidates are too many"):
        finite_features(TfidfSvdEmbedder(dimensions=8), many, many)
