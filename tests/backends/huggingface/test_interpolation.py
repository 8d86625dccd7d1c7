"""The path from a reference to a tuned model: an adapter scaled against weights that are merged by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from toy_policies import TEXTS

from causalopt.backends.contracts import InterpolablePolicy, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import ModelError
from causalopt.objectives.paper import DRCPO

TRAINING = {"max_steps": 8, "per_device_train_batch_size": 16, "learning_rate": 1e-2, "save_strategy": "no"}


def fitted(reference, problem, **settings):
    backend = HuggingFaceBackend(training=TRAINING, **settings)
    return backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())


@pytest.fixture(scope="module")
def tuned(reference, problem):
    return fitted(reference, problem)


def merged(policy):
    """The weights of a policy whose adapter is added to its base."""
    return copy.deepcopy(policy.model).merge_and_unload().state_dict()


@pytest.mark.parametrize("factor", [0.3, 1.5])
def test_a_scaled_adapter_is_its_base_plus_the_scaled_change(reference, tuned, factor, tmp_path):
    assert isinstance(tuned, InterpolablePolicy)
    before = tuned.log_prob(None, TEXTS)
    between = tuned.interpolated(reference, factor)
    start, end, found = reference.model.state_dict(), merged(tuned), merged(between)
    changed = 0
    for name in end:
        expected = start[name] + factor * (end[name] - start[name])
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=0)
        changed += int(not torch.equal(end[name], start[name]))
    assert changed > 4
    np.testing.assert_array_equal(tuned.log_prob(None, TEXTS), before)
    between.save(tmp_path)
    np.testing.assert_allclose(
        HuggingFacePolicy.load(tmp_path).log_prob(None, TEXTS), between.log_prob(None, TEXTS), atol=1e-4
    )


def test_its_ends_are_the_reference_and_the_policy(reference, tuned):
    for factor, end in ((0.0, reference), (1.0, tuned)):
        found = tuned.interpolated(reference, factor).log_prob(None, TEXTS)
        np.testing.assert_allclose(found, end.log_prob(None, TEXTS), atol=1e-4)


def test_full_weights_are_interpolated(reference, problem):
    full = fitted(reference, problem, lora=False)
    half = full.interpolated(reference, 0.5).model.state_dict()
    for name, end in full.model.state_dict().items():
        torch.testing.assert_close(half[name], (reference.model.state_dict()[name] + end) / 2, atol=1e-6, rtol=0)


def test_from_an_adapter_both_matrices_are_interpolated(tuned, problem):
    """A policy that was tuned twice: its path starts at the first one."""
    twice = fitted(tuned, problem)
    for factor, end in ((0.0, tuned), (1.0, twice)):
        found = twice.interpolated(tuned, factor).log_prob(None, TEXTS)
        np.testing.assert_allclose(found, end.log_prob(None, TEXTS), atol=1e-4)
    half = dict(twice.interpolated(tuned, 0.5).model.named_parameters())
    first, last = (dict(policy.model.named_parameters()) for policy in (tuned, twice))
    name = next(name for name in half if "lora_A" in name)
    torch.testing.assert_close(half[name], (first[name] + last[name]) / 2)


def test_what_cannot_be_scaled_is_refused(reference, problem, letters):
    dora = fitted(reference, problem, lora={"use_dora": True})
    with pytest.raises(ModelError, match="no path from the reference to an adapter that trains"):
        dora.interpolated(reference, 0.5)
    with pytest.raises(ModelError, match="different weights"):
        fitted(reference, problem, lora=False).interpolated(letters, 0.5)
