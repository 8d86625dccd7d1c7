"""The truth beside a run's estimates is of what they estimate: all that is written, where the world knows it."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.backends.finite import FinitePolicy
from causalopt.evaluation.policies import Draws
from causalopt.simulation import FiniteWorld, TemplateWorld
from causalopt.simulation.grading import true_responses, truth_metrics

OTHER = ["please give today", "Hello friend, and feel proud."]


def policies(texts: list[str], rests: tuple[float, float]) -> list[tuple[FinitePolicy, np.ndarray]]:
    """Reference and policy with their probabilities; ``rests`` are those of the texts in OTHER."""
    rng = np.random.default_rng(0)
    k = len(texts)
    shares = [np.append(rng.dirichlet(np.ones(k)) * (1 - rest), rest * np.array([0.3, 0.7])) for rest in rests]
    return [(FinitePolicy([*texts, *OTHER], np.log(p), np.zeros((k + 2, 1)), np.zeros(1)), p) for p in shares]


def drawn(policy: FinitePolicy, seed: int) -> Draws:
    texts = policy.sample(None, 4000, seed)
    return Draws(texts, None, np.zeros(len(texts)))


def test_values_are_of_all_texts_and_the_share_of_the_worlds() -> None:
    """Brute force: |z| below 5 fails once in two million."""
    world = TemplateWorld(seed=0)
    (reference, start), (policy, end) = policies(world.texts, (0.1, 0.3))
    found = truth_metrics(world, policy, reference, {"reference": drawn(reference, 0), "policy": drawn(policy, 1)})
    g = world.true_dose_response_of_any([*world.texts, *OTHER])
    for name, each, share in (("reference", reference, start), ("policy", policy, end)):
        assert abs(found[name] - share @ g) < 5 * found["se"]
        assert abs(found[f"{name}_given_texts"] - share @ g) > 20 * found["se"]
        assert found[f"{name}_given_texts"] == world.true_value(each).value
    assert found["difference"] == found["policy"] - found["reference"]
    assert 0 < found["se"] < 0.01
    gained = found["policy_given_texts"] - found["reference_given_texts"]
    assert found["gain_share"] == pytest.approx(gained / (found["best"] - found["reference_given_texts"]))
    assert found["mass_policy"] == pytest.approx(0.7)


def test_where_other_texts_are_unknown_values_are_given_the_worlds() -> None:
    world = FiniteWorld(seed=0)
    (reference, _), (policy, _) = policies(world.texts, (0.01, 0.3))
    found = truth_metrics(world, policy, reference, {"reference": drawn(reference, 0), "policy": drawn(policy, 1)})
    assert found["policy"] == found["policy_given_texts"] == world.true_value(policy).value
    assert found["se"] == 0


def test_the_response_of_a_text_is_known_or_nan() -> None:
    finite, template = FiniteWorld(seed=0), TemplateWorld(seed=0)
    mixed = [OTHER[0], finite.texts[3], OTHER[1], finite.texts[0]]
    found = true_responses(finite, mixed, None)
    np.testing.assert_array_equal(np.isnan(found), [True, False, True, False])
    np.testing.assert_array_equal(found[[1, 3]], finite.true_dose_response([finite.texts[3], finite.texts[0]]))
    np.testing.assert_array_equal(true_responses(template, OTHER, None), template.true_dose_response_of_any(OTHER))
