from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare
from torch import Tensor

from causalopt.backends import load_policy
from causalopt.backends.contracts import Backend, Policy, PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend, FinitePolicy, _Loss
from causalopt.backends.inputs import objective_inputs
from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError
from causalopt.objectives.contract import Objective, ObjectiveInputs
from causalopt.objectives.paper import CPO, DRCPO, OORLHF
from causalopt.simulation import FiniteWorld, TemplateWorld
from causalopt.simulation.tilting import tilt

HEADLINES = [
    "Please give today and feed a family",
    "Join our walk along the river",
    "Share one hour with a lonely neighbor",
    "Your coat can warm a child this winter",
    "Vote for the garden on our street",
    "Give twice: your employer matches every gift",
]


NEAR = {"kl": 0.1, "forward_kl": 0.1}
"""Stated, so that these tests do not hang on the defaults."""


def small_policy(seed: int = 0) -> FinitePolicy:
    rng = np.random.default_rng(seed)
    return FinitePolicy(HEADLINES, rng.normal(size=6), rng.normal(size=(6, 3)), rng.normal(size=3))


def problem_of(world: FiniteWorld, n: int, per_row: int, seed: int) -> tuple[PolicyProblem, FinitePolicy]:
    """Rows of a world with the residuals and dose response that an oracle knows, in outcome units."""
    reference = world.policy(np.zeros(world.embedding.shape[1]))
    reader, text, outcome = world.sample_indices(n, seed)
    texts = [world.texts[i] for i in text]
    s = world.true_stabilized_weight(texts, world.readers.iloc[reader])
    drawn = reference.sample(None, n * per_row, seed)
    center = world.dose_response.mean()
    problem = PolicyProblem(
        texts=texts,
        prompts=None,
        behavior_log_prob=world.log_behavior[text],
        residual=s * (outcome - world.outcome_mean[reader, text]),
        g=world.dose_response[text] - center,
        weight=np.random.default_rng(seed).uniform(0.5, 1.5, n),
        sampled_texts=[drawn[i * per_row : (i + 1) * per_row] for i in range(n)],
        sampled_g=(world.true_dose_response(drawn) - center).reshape(n, per_row),
    )
    return problem, reference


def test_policy_is_the_softmax_it_says() -> None:
    policy = small_policy()
    weight = np.exp(policy.log_base + policy.features @ policy.theta)
    np.testing.assert_allclose(policy.probability, weight / weight.sum(), rtol=1e-12)
    assert policy.probability.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(
        policy.log_prob(None, [HEADLINES[3], HEADLINES[0]]), np.log(weight / weight.sum())[[3, 0]], rtol=1e-12
    )
    assert isinstance(policy, Policy)


def test_large_scores_do_not_overflow() -> None:
    policy = FinitePolicy(HEADLINES, np.zeros(6), np.arange(6.0)[:, None], np.array([1e4]))
    assert np.isfinite(policy.candidate_log_prob).all()
    assert policy.probability[-1] == 1


def test_samples_follow_the_policy() -> None:
    """Chi-square over six texts; the failure probability is 1e-6 (the seed is fixed)."""
    policy, n = small_policy(), 50_000
    drawn = policy.sample(None, n, seed=1)
    counts = [drawn.count(text) for text in HEADLINES]
    assert chisquare(counts, n * policy.probability).pvalue > 1e-6
    assert policy.sample(None, 20, seed=1) == policy.sample(None, 20, seed=1) != policy.sample(None, 20, seed=2)


def test_saved_and_loaded_policy_is_equal(tmp_path: Path) -> None:
    policy = FinitePolicy([*HEADLINES[:5], 'A "quoted" line\nand another – ünïcode'], *vars_of(small_policy()))
    policy.save(tmp_path / "policy")
    for loaded in (FinitePolicy.load(tmp_path / "policy"), load_policy(tmp_path / "policy")):
        assert isinstance(loaded, FinitePolicy)
        assert loaded.candidates == policy.candidates
        np.testing.assert_array_equal(loaded.candidate_log_prob, policy.candidate_log_prob)
        np.testing.assert_array_equal(loaded.features, policy.features)
    assert not list(tmp_path.rglob("*.pkl"))


def vars_of(policy: FinitePolicy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return policy.log_base, policy.features, policy.theta


def test_a_folder_that_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"finite_policy\.json is missing"):
        FinitePolicy.load(tmp_path)
    small_policy().save(tmp_path)
    (tmp_path / "finite_policy.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="can be read"):
        FinitePolicy.load(tmp_path)


def test_texts_prompts_and_shapes_that_do_not_fit() -> None:
    policy = small_policy()
    with pytest.raises(DataError, match="'Buy now' is not among the 6 candidates"):
        policy.log_prob(None, [HEADLINES[0], "Buy now"])
    with pytest.raises(DataError, match="cannot answer prompts"):
        policy.log_prob(["Hello"], [HEADLINES[0]])
    with pytest.raises(DataError, match="cannot answer prompts"):
        policy.sample(["Hello"], 1, seed=0)
    with pytest.raises(DataError, match="listed twice, at positions 0 and 1"):
        FinitePolicy(["a", "a"], np.zeros(2), np.zeros((2, 1)), np.zeros(1))
    with pytest.raises(DataError, match="theta"):
        FinitePolicy(["a", "b"], np.zeros(2), np.zeros((2, 1)), np.zeros(2))


@pytest.mark.parametrize(
    "objective",
    [
        CPO(kl=0.0, forward_kl=0.0),
        CPO(self_normalize=False, kl=0.1, forward_kl=0.0, entropy=0.05),
        OORLHF(kl=0.1),
        DRCPO(),
        DRCPO(self_normalize=False, clip=0.2, kl=0.02),
        CPO(per_token=True),
    ],
)
def test_gradient_is_that_of_finite_differences(objective: Objective) -> None:
    world = FiniteWorld(texts=40, readers=30, seed=5)
    problem, reference = problem_of(world, 80, 2, seed=1)
    loss = _Loss(problem, objective, reference, l2=0.3)
    theta, step = np.array([0.3, -0.4, 0.2, 0.1]), 1e-6
    _, gradient = loss.value_and_gradient(theta, penalty=0.2)
    for j in range(4):
        e = step * np.eye(4)[j]
        ahead, behind = loss.value_and_gradient(theta + e, 0.2)[0], loss.value_and_gradient(theta - e, 0.2)[0]
        assert gradient[j] == pytest.approx((ahead - behind) / (2 * step), abs=1e-8)


def test_loss_is_the_objective_of_the_policy_s_own_log_probabilities() -> None:
    """The scalars that reach the objective are those that a caller of `log_prob` would form, row by row."""
    problem, reference = problem_of(FiniteWorld(texts=40, readers=30, seed=5), 60, 3, seed=1)
    theta = np.array([0.3, -0.4, 0.2, 0.1])
    policy = reference.with_theta(theta)
    weight = problem.weight / problem.weight.sum()
    ratio = np.exp(policy.log_prob(None, problem.texts) - problem.behavior_log_prob)
    data = weight @ (ratio * problem.residual)
    sampled = 0.0
    for share, texts, g in zip(weight, problem.sampled_texts, problem.sampled_g, strict=True):
        drawn = np.exp(policy.log_prob(None, texts) - reference.log_prob(None, texts))
        sampled += share * (drawn * g).mean()
    p, p0 = policy.probability, reference.probability
    kl, forward_kl = p @ np.log(p / p0), p0 @ np.log(p0 / p)
    expected = -data - sampled + 0.5 * 0.3 * theta @ theta + 0.4 * kl + 0.1 * forward_kl + 0.05 * p @ np.log(p)
    loss = _Loss(problem, DRCPO(self_normalize=False, kl=0.2, forward_kl=0.1, entropy=0.05), reference, l2=0.3)
    assert loss.value_and_gradient(theta, penalty=0.2)[0] == pytest.approx(expected, abs=1e-12)
    assert loss.exact_kl(theta) == pytest.approx(kl, abs=1e-12)


def test_pessimism_subtracts_the_standard_error_of_the_whole_set() -> None:
    """Value and gradient along theta, with the noise that a second stage left out of the residuals."""
    problem, reference = problem_of(FiniteWorld(texts=40, readers=30, seed=5), 60, 2, seed=1)
    problem = replace(problem, noise=np.random.default_rng(0).normal(size=60), weight=np.ones(60))

    def standard_error(theta: np.ndarray) -> float:
        policy = reference.with_theta(theta)
        ratio = np.exp(policy.log_prob(None, problem.texts) - problem.behavior_log_prob)
        drawn = [text for row in problem.sampled_texts for text in row]
        sampled = np.exp(policy.log_prob(None, drawn) - reference.log_prob(None, drawn)) * problem.sampled_g.ravel()
        return float(np.sqrt((ratio * (problem.residual + problem.noise)).var() / 60 + sampled.var() / 120))

    theta, step = np.array([0.3, -0.4, 0.2, 0.1]), np.array([1e-6, 0.0, 0.0, 0.0])
    plain, pessimistic = (_Loss(problem, DRCPO(pessimism=p, **NEAR), reference, l2=0.0) for p in (0.0, 1.5))
    (at, slope), (start, start_slope) = (one.value_and_gradient(theta) for one in (pessimistic, plain))
    assert at - start == pytest.approx(1.5 * standard_error(theta), abs=1e-12)
    derivative = (standard_error(theta + step) - standard_error(theta - step)) / 2e-6
    assert slope[0] - start_slope[0] == pytest.approx(1.5 * derivative, abs=1e-6)


def test_an_objective_of_another_make_is_used_as_it_is() -> None:
    problem, reference = problem_of(FiniteWorld(texts=40, readers=30, seed=5), 60, 1, seed=1)

    class SamplesOnly(OORLHF):
        def regularizer(self, inputs: ObjectiveInputs) -> Tensor:
            return 3.0 * inputs.sampled_log_ratio.square().mean()

    theta = np.array([0.3, -0.4, 0.2, 0.1])
    drawn = [text for row in problem.sampled_texts for text in row]
    ratio = reference.with_theta(theta).log_prob(None, drawn) - reference.log_prob(None, drawn)
    both = [_Loss(problem, make(kl=0.0, forward_kl=0.0), reference, l2=0.0) for make in (SamplesOnly, OORLHF)]
    difference = both[0].value_and_gradient(theta)[0] - both[1].value_and_gradient(theta)[0]
    assert difference == pytest.approx(3.0 * np.mean(ratio**2), abs=1e-12)


def test_with_every_text_and_exact_kl_the_fit_is_the_tilted_reference() -> None:
    """With g in the span of the features, max E_P[g] - lambda KL(P || P0) is the tilt of P0 by exp(g / lambda)."""
    world = FiniteWorld(nonlinear=0.0, seed=1)
    reference = world.policy(np.zeros(4))
    k = len(world.texts)
    problem = PolicyProblem(
        texts=world.texts,
        prompts=None,
        behavior_log_prob=world.log_behavior,
        residual=np.zeros(k),
        g=world.dose_response,
        weight=k * np.exp(world.log_behavior),
        sampled_texts=[[]] * k,
        sampled_g=np.zeros((k, 0)),
    )
    backend = FiniteBackend(l2=0.0, max_kl=None)
    objective = CPO(kl=0.25, forward_kl=0.0)
    policy = backend.fit(problem, objective, reference=reference, seed=0, progress=Progress())
    np.testing.assert_allclose(
        policy.candidate_log_prob, tilt(world.log_behavior, world.dose_response, 0.25), atol=1e-5
    )
    assert world.true_value(policy).value == pytest.approx(world.best_value(reference, world.kl(policy, reference)))


@pytest.mark.parametrize(
    "objective",
    [
        DRCPO(kl=0.3, forward_kl=0.0),
        CPO(kl=0.3, forward_kl=0.0),
        OORLHF(kl=0.3, forward_kl=0.0),
        DRCPO(kl=0.3, forward_kl=0.0, truncation_quantile=0.95),
    ],
)
def test_an_oracle_s_rows_lead_near_the_best(objective: Objective) -> None:
    world = FiniteWorld(nonlinear=0.0, seed=0)
    problem, reference = problem_of(world, 3000, 1, seed=2)
    policy = FiniteBackend().fit(problem, objective, reference=reference, seed=0, progress=Progress())
    kl = world.kl(policy, reference)
    start, end = world.true_value(reference).value, world.true_value(policy).value
    best = world.best_value(reference, kl)
    assert kl > 0.2
    assert end <= best
    assert (end - start) / (best - start) > 0.9


def test_reference_is_the_smoothed_frequency() -> None:
    backend = FiniteBackend(HEADLINES, reference={"smoothing": 1.0})
    texts, weight = [HEADLINES[0], HEADLINES[0], HEADLINES[1], HEADLINES[2]], np.array([2.0, 4.0, 6.0, 12.0])
    policy = backend.reference(None, texts, weight, seed=0, progress=Progress())
    count = np.array([1.0, 1.0, 2.0, 0, 0, 0])
    np.testing.assert_allclose(policy.probability, (count + 1) / (count + 1).sum(), rtol=1e-12)
    np.testing.assert_allclose(policy.features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(policy.features.std(0), 1, rtol=1e-6)
    untuned = FiniteBackend(HEADLINES, reference={"tune": False}).reference(
        None, texts, weight, seed=0, progress=Progress()
    )
    np.testing.assert_allclose(untuned.probability, 1 / 6, rtol=1e-12)


def test_candidates_from_a_file_and_from_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "headlines.txt"
    path.write_text("\n".join(HEADLINES) + "\n\n", encoding="utf-8")
    assert FiniteBackend(path).candidates == FiniteBackend(str(path)).candidates == HEADLINES
    backend = FiniteBackend()
    assert backend.candidates is None
    chosen = backend.with_candidates([*HEADLINES, HEADLINES[0]])
    assert (chosen.candidates, backend.candidates) == (HEADLINES, None)
    assert isinstance(backend, Backend)
    chosen.check()


def test_the_caller_s_embedder_is_left_as_it_is() -> None:
    world = FiniteWorld(seed=0)

    class Counting:
        fits = 0

        def fit(self, texts: list[str]) -> Counting:
            self.fits += 1
            return self

        def transform(self, texts: list[str]) -> np.ndarray:
            return world.embedder().transform(texts)

    embedder = Counting()
    policy = FiniteBackend(world.texts, embedder).reference(
        None, world.texts, np.ones(300), seed=0, progress=Progress()
    )
    assert embedder.fits == 0
    np.testing.assert_allclose(policy.features, world.embedding, atol=1e-5)


def test_fit_is_deterministic_and_reports_its_steps() -> None:
    problem, reference = problem_of(FiniteWorld(seed=0), 500, 1, seed=1)
    steps: list[Mapping[str, Any]] = []

    def listen(event: str, metrics: Mapping[str, Any]) -> None:
        assert event == "step"
        steps.append(metrics)

    def fit(seed: int, progress: Progress) -> FinitePolicy:
        return FiniteBackend().fit(problem, DRCPO(**NEAR), reference=reference, seed=seed, progress=progress)

    first, second = fit(0, Progress(callbacks=(listen,))), fit(1, Progress())
    np.testing.assert_array_equal(first.theta, second.theta)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[-1]["kl"] > 0
    with pytest.warns(CausalOptWarning, match="had not converged after 2 iterations"):
        FiniteBackend(max_iterations=2).fit(problem, DRCPO(**NEAR), reference=reference, seed=0, progress=Progress())


@pytest.mark.parametrize("limit", [1e-4, 0.05, 0.4])
def test_the_kl_is_held_to_its_limit(limit: float) -> None:
    world = FiniteWorld(seed=0)
    problem, reference = problem_of(world, 1000, 2, seed=1)
    policy = FiniteBackend(max_kl=limit).fit(problem, OORLHF(**NEAR), reference=reference, seed=0, progress=Progress())
    assert 0.95 * limit < world.kl(policy, reference) <= limit


def test_a_lucky_row_does_not_take_everything() -> None:
    """One row of a rare text has an absurd residual: without a limit the policy chases it, with one it does not."""
    world = FiniteWorld(dimensions=30, seed=0)
    problem, reference = problem_of(world, 2000, 2, seed=1)
    rare = int(np.argmin(reference.probability + (np.arange(300) == world.dose_response.argmax())))
    lucky = replace(
        problem,
        texts=[*problem.texts[1:], world.texts[rare]],
        behavior_log_prob=np.append(problem.behavior_log_prob[1:], world.log_behavior[rare]),
        residual=np.append(problem.residual[1:], 200.0),
    )
    start = world.true_value(reference).value

    def fit(max_kl: float | None) -> FinitePolicy:
        backend = FiniteBackend(max_kl=max_kl)
        return backend.fit(lucky, DRCPO(**NEAR), reference=reference, seed=0, progress=Progress())

    assert world.true_value(fit(1.0)).value > start + 0.1
    assert fit(None).probability[rare] > 0.3 > 0.05 > fit(1.0).probability[rare]


def test_a_stronger_penalty_keeps_nearer_to_the_reference() -> None:
    world = FiniteWorld(seed=0)
    problem, reference = problem_of(world, 1000, 1, seed=1)
    kls = [
        world.kl(
            FiniteBackend(l2=l2, max_kl=None).fit(
                problem, DRCPO(kl=kl, forward_kl=0.1), reference=reference, seed=0, progress=Progress()
            ),
            reference,
        )
        for l2, kl in ((0.001, 0.1), (1.0, 0.1), (0.001, 2.0))
    ]
    assert kls[0] > 1.5 * kls[1]
    assert kls[0] > 1.5 * kls[2]


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend\.l2"):
        FiniteBackend(l2=-1)
    with pytest.raises(ConfigError, match=r"backend\.max_kl"):
        FiniteBackend(max_kl=0)
    with pytest.raises(ConfigError, match="'smoth'"):
        FiniteBackend(reference={"smoth": 1})
    with pytest.raises(ConfigError, match="smoothing must be a number above 0"):
        FiniteBackend(reference={"smoothing": 0})
    with pytest.raises(DataError, match=r"no file .*nowhere\.txt"):
        FiniteBackend(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="'a' twice"):
        FiniteBackend(["a", "b", "a"])
    with pytest.raises(DataError, match="at least two"):
        FiniteBackend(["a"])
    with pytest.raises(ConfigError, match="no candidates"):
        FiniteBackend().reference(None, HEADLINES, np.ones(6), seed=0, progress=Progress())
    with pytest.raises(DataError, match="'unlisted' is not among"):
        FiniteBackend(HEADLINES).reference(None, ["unlisted"], np.ones(1), seed=0, progress=Progress())
    with pytest.raises(ConfigError, match="no embedder is called"):
        FiniteBackend(HEADLINES, embedder="word-soup").check()


def test_a_language_model_is_no_start_for_it() -> None:
    problem, _ = problem_of(FiniteWorld(texts=40, readers=30), 20, 1, seed=0)
    with pytest.raises(ModelError, match="not at a object"):
        FiniteBackend().fit(problem, DRCPO(**NEAR), reference=object(), seed=0, progress=Progress())


def test_on_sentences_with_their_tf_idf_embedding() -> None:
    """The default embedder: the true g of the template world is well within reach of a log-linear policy."""
    world = TemplateWorld(seed=0)
    backend = FiniteBackend(world.texts, l2=0.0)
    reference = backend.reference(None, world.texts, np.ones(1800), seed=0, progress=Progress())
    problem = PolicyProblem(
        world.texts,
        None,
        reference.candidate_log_prob,
        np.zeros(1800),
        world.dose_response,
        np.ones(1800),
        [[]] * 1800,
        np.zeros((1800, 0)),
    )
    policy = backend.fit(problem, CPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress())
    start, end = world.true_value(reference).value, world.true_value(policy).value
    best = world.best_value(reference, world.kl(policy, reference))
    assert (end - start) / (best - start) > 0.95


def test_inputs_from_log_probabilities_give_the_loss_of_the_backend():
    """`objective_inputs` asks a policy for log-probabilities alone; the backend's own loss is made of features."""
    rng = np.random.default_rng(0)
    reference = small_policy()
    policy = reference.with_theta(rng.normal(size=3))
    texts = [HEADLINES[i] for i in rng.integers(6, size=20)]
    sampled = [[HEADLINES[i] for i in row] for row in rng.integers(6, size=(20, 2))]
    log_q, residual, g = rng.normal(size=(3, 20))
    problem = PolicyProblem(texts, None, log_q, residual, g, rng.uniform(0.5, 2, 20), sampled, rng.normal(size=(20, 2)))
    for objective in (CPO(kl=0.0, forward_kl=0.0), OORLHF(kl=0.0, forward_kl=0.0), DRCPO(kl=0.0, forward_kl=0.0)):
        of_backend = _Loss(problem, objective, reference, l2=0.0).value_and_gradient(policy.theta)[0]
        assert float(objective(objective_inputs(problem, policy, reference))) == pytest.approx(of_backend, rel=1e-12)
