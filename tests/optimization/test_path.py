"""The path of a finite policy against tilted probabilities, and targets of the KL that it is followed to."""

from __future__ import annotations

import numpy as np
import pytest

import causalopt as co
from causalopt.backends.contracts import Progress
from causalopt.backends.finite import FiniteBackend
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.backends.optimized import OptimizedPolicy
from causalopt.errors import CausalOptWarning, ConfigError, ModelError
from causalopt.optimization.path import at, factor_at_kl, factors_of


def policies(k=12, d=3, seed=0):
    rng = np.random.default_rng(seed)
    texts = [f"text {i}" for i in range(k)]
    start = FinitePolicy(texts, rng.normal(size=k), rng.normal(size=(k, d)), np.zeros(d))
    return start, start.with_theta(rng.normal(size=d))


def kl_of(policy, reference):
    return float(policy.probability @ (policy.candidate_log_prob - reference.candidate_log_prob))


@pytest.mark.parametrize("tuned_before", [False, True])
@pytest.mark.parametrize("factor", [0.4, 1.3])
def test_a_finite_policy_is_tilted_by_a_power_of_its_ratio(factor, tuned_before):
    reference, end = policies()
    if tuned_before:
        reference = reference.with_theta(np.array([0.5, -1.0, 0.3]))
    tilted = reference.probability * (end.probability / reference.probability) ** factor
    np.testing.assert_allclose(at(end, reference, factor).probability, tilted / tilted.sum(), rtol=1e-12)


def test_its_ends_are_the_policies_themselves():
    reference, end = policies()
    assert at(end, reference, 0) is reference
    assert at(end, reference, 1) is end
    other, _ = policies(seed=1)
    with pytest.raises(ModelError, match="only from a reference over the same texts"):
        at(end, other, 0.5)


@pytest.mark.parametrize("share", [0.05, 0.6, 1.0, 1.4])
def test_a_target_is_met_along_the_path(share):
    reference, end = policies()
    target = share * kl_of(end, reference)
    factor = factor_at_kl(end, reference, target, lambda policy: kl_of(policy, reference))
    assert kl_of(at(end, reference, factor), reference) == pytest.approx(target, rel=0.021)


def test_a_target_beyond_the_path_is_said():
    reference, end = policies()
    with pytest.warns(CausalOptWarning, match="before target_kl = 99: lower objective.kl"):
        assert factor_at_kl(end, reference, 99.0, lambda policy: kl_of(policy, reference)) == 3.0


class Opaque:
    """A policy without a path."""

    def log_prob(self, prompts, texts):
        return np.zeros(len(texts))

    def sample(self, prompts, n, seed):
        return ["text 0"] * n


def test_a_policy_without_a_path_stays_where_it_is():
    reference, _ = policies()
    assert factors_of(Opaque()) == (1.0,)
    with pytest.warns(CausalOptWarning, match="Opaque has no path to its reference"):
        assert factor_at_kl(Opaque(), reference, 0.2, lambda policy: 0.5) == 1.0
    assert factor_at_kl(Opaque(), reference, 0.2, lambda policy: 0.21) == 1.0


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
class TestOptimize:
    """A table of 1,000 rows, through the door of a user."""

    @pytest.fixture(scope="class")
    def world(self):
        return co.simulation.TemplateWorld()

    @pytest.fixture(scope="class")
    def train(self, world):
        return co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(world.sample(1000, 8))

    @pytest.mark.parametrize("target", [0.25, 1.0])
    def test_the_finite_backend_meets_its_target(self, world, train, target):
        policy = co.optimize(train, backend=FiniteBackend(world.texts, max_kl=3.0), target_kl=target)
        assert kl_of(policy.policy, policy.reference) == pytest.approx(target, rel=0.1)

    def test_the_policy_is_the_one_at_the_chosen_point(self, world, train):
        apart = co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(world.sample(600, 3))
        backend = {"name": "finite", "candidates": world.texts}
        found = co.optimize(train, backend=backend, choose=apart)
        frame = found.frontier.frame
        expected = at(found.end, found.reference, found.frontier.chosen).probability
        np.testing.assert_array_equal(found.policy.probability, expected)
        chosen = frame[frame["chosen"]].iloc[0]
        assert chosen["bound"] == frame["bound"].where(frame["barred"].isna(), -np.inf).max() > 0
        assert chosen["kl"] == pytest.approx(kl_of(found.policy, found.reference))
        # What an evaluation says on the same rows.
        raw = OptimizedPolicy(found.policy, found.reference)
        again = co.evaluate(raw, apart, estimators=["balance"], draws=400).difference
        assert chosen["gain"] == pytest.approx(again.value, abs=1e-10)
        assert chosen["bound"] == pytest.approx(again.confint(0.9)[0], abs=1e-10)

    def test_a_target_that_is_none_is_refused(self, world, train):
        reference = FiniteBackend(world.texts).reference(
            None, train.dataset.texts, train.dataset.weight, seed=0, progress=Progress()
        )
        with pytest.raises(ConfigError, match="target_kl must be a number above 0, not 0"):
            co.optimize(train, backend=FiniteBackend(world.texts), reference=reference, target_kl=0.0)
