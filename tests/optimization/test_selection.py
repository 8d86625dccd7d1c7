"""Choosing by the lower bound: the evaluation's own number, on rows apart from training and test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causalopt as co
from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend
from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.objectives.paper import CPO
from causalopt.optimization.selection import Selection, select_by_lower_bound
from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.fixture(scope="module")
def world():
    return co.simulation.TemplateWorld()


@pytest.fixture(scope="module")
def held_out(world):
    return co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(world.sample(600, 3))


@pytest.fixture(scope="module")
def train(world):
    return co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(world.sample(1000, 8))


@pytest.fixture(scope="module")
def reference(world, held_out):
    data = held_out.dataset
    backend = FiniteBackend(world.texts)
    return backend.reference(None, data.texts, data.weight, seed=0, progress=Progress())


def test_the_score_is_the_end_of_the_interval(reference, held_out):
    policy = reference.with_theta(0.3 * np.ones_like(reference.theta))
    evaluation = co.evaluate(policy, held_out, reference=reference, estimators=["sndr"], draws=100, seed=4)
    score = select_by_lower_bound(held_out, reference, level=0.9, draws=100, seed=4).score
    low, high = evaluation.policy.confint(0.9)
    assert score(policy) == pytest.approx(low, rel=1e-12)
    fewer = replace(held_out, dataset=replace(held_out.dataset, direction="minimize"))
    assert select_by_lower_bound(fewer, reference, draws=100, seed=4).score(policy) == pytest.approx(-high, rel=1e-12)


def test_rows_that_say_nothing_score_minus_infinity(reference, held_out):
    nowhere = reference.with_theta(reference.theta)
    nowhere.log_prob = lambda prompts, texts: np.full(len(texts), -np.inf)
    assert select_by_lower_bound(held_out, reference, draws=20).score(nowhere) == -np.inf


def test_the_finite_backend_keeps_the_best_of_its_path():
    texts = ["Please give today.", "Join our walk.", "Share one hour."]
    backend = FiniteBackend(texts, embedder={"name": "tfidf-svd", "dimensions": 2}, max_kl=0.5)
    reference = backend.reference(None, texts, np.ones(3), seed=0, progress=Progress())
    xi = np.array([1.0, 0.0, -1.0])
    problem = PolicyProblem(
        texts, None, reference.log_prob(None, texts), xi, np.zeros(3), np.ones(3), [[], [], []], np.zeros((3, 0))
    )

    def kl(policy):
        return float(policy.probability @ (np.log(policy.probability) - np.log(reference.probability)))

    def fit(rule):
        common = {"reference": reference, "seed": 0, "progress": Progress()}
        return backend.fit(problem, CPO(kl=0.0, forward_kl=0.0), on_checkpoint=rule, **common)

    assert kl(fit(None)) > 0.3
    assert abs(kl(fit(Selection(reference, lambda policy: -abs(kl(policy) - 0.1)))) - 0.1) < 0.1
    assert kl(fit(Selection(reference, lambda policy: -kl(policy)))) == pytest.approx(0.0, abs=1e-12)
    assert 0.3 < kl(fit(Selection(reference, kl))) <= 0.5 + 1e-9
    passed = []
    kept = fit(Selection(reference, kl=lambda policy: passed.append(kl(policy)) or passed[-1], target_kl=0.2))
    assert kl(kept) == max(found for found in passed if found <= 0.2) > 0


def test_a_run_sets_rows_apart(tmp_path):
    config = {
        "data": {"world": {"name": "template"}, "rows": 900},
        "outcome_model": "ridge",
        "backend": "finite",
        "selection": {"size": 0.3},
        "evaluation": {"draws": 50},
    }
    plan = prepare(parse_config(config))
    # A finite policy is about these very texts: rows are set apart, and texts are not.
    parts = [set(zip(part.texts, part.outcome, strict=True)) for part in (plan.train, plan.selection, plan.test)]
    assert [len(part) for part in parts] == [len(part) for part in (plan.train, plan.selection, plan.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 900
    metrics = run(plan, tmp_path / "run")
    assert metrics["truth"]["difference"] > 0


def test_optimize_takes_validation_rows(world, train, held_out, reference):
    found = co.optimize(
        train, backend={"name": "finite", "candidates": world.texts}, reference=reference, validation=held_out
    )
    score = select_by_lower_bound(held_out, reference).score
    last = co.optimize(train, backend={"name": "finite", "candidates": world.texts}, reference=reference)
    assert score(found.policy) >= max(score(last.policy), score(reference))


class Forgetful(FiniteBackend):
    """Returns its last policy, whatever it is asked to choose by."""

    def fit(self, problem, objective, *, on_checkpoint=None, **rest):
        return super().fit(problem, objective, **rest)


def test_a_backend_that_forgets_to_choose_is_held_to_the_held_out_rows(world, train, held_out, reference):
    worse = replace(held_out, dataset=replace(held_out.dataset, direction="minimize"))
    common = {"backend": Forgetful(world.texts), "reference": reference}
    assert co.optimize(train, validation=held_out, **common).policy is not reference
    with pytest.warns(CausalOptWarning, match="the policy is the reference itself"):
        assert co.optimize(train, validation=worse, **common).policy is reference


def kl_of(found):
    p, q = found.policy.probability, found.reference.probability
    return float(p @ np.log(p / q))


@pytest.mark.parametrize("backend", [FiniteBackend, Forgetful])
def test_a_limit_on_the_kl_is_the_callers(world, train, reference, backend):
    common = {"backend": backend(world.texts), "reference": reference}
    assert kl_of(co.optimize(train, **common)) > 0.25
    if backend is FiniteBackend:
        assert 0 < kl_of(co.optimize(train, target_kl=0.25, **common)) <= 0.25
    else:
        with pytest.warns(CausalOptWarning, match="beyond target_kl = 0.25 nats"):
            assert co.optimize(train, target_kl=0.25, **common).policy is reference


def test_a_limit_that_is_none_is_refused(train, reference):
    with pytest.raises(ConfigError, match="target_kl must be positive or null, not 0"):
        co.optimize(train, backend=FiniteBackend(["a", "b"]), reference=reference, target_kl=0.0)
