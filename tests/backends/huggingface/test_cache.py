"""Log-probabilities that are kept: the same numbers, and never those of anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gradients import moved_policy
from toy_policies import TEXTS

from causalopt.backends import load_policy
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.language_models.load import prepare


def counted(policy: HuggingFacePolicy, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many sequences the policy scores in each call."""
    score, calls = policy._score, []

    def count(sequences):
        calls.append(len(sequences))
        return score(sequences)

    monkeypatch.setattr(policy, "_score", count)
    return calls


def test_computed_once_and_anew_for_all_else(
    reference: HuggingFacePolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference.save(tmp_path / "reference")
    policy = load_policy(tmp_path / "reference", cache=tmp_path / "cache")
    assert isinstance(policy, HuggingFacePolicy)
    calls = counted(policy, monkeypatch)
    first = policy.log_prob(None, TEXTS)
    np.testing.assert_array_equal(policy.log_prob(None, TEXTS), first)
    np.testing.assert_allclose(first, reference.log_prob(None, TEXTS), atol=1e-5)
    assert len(calls) == 1
    again = load_policy(tmp_path / "reference", cache=tmp_path / "cache")
    later = counted(again, monkeypatch)
    np.testing.assert_array_equal(again.log_prob(None, TEXTS), first)
    assert later == []
    policy.log_prob(None, TEXTS[1:])
    policy.log_prob(["We"] * len(TEXTS), TEXTS)
    assert len(calls) == 3
    with torch.no_grad():
        next(policy.model.parameters())[3, 5] += 1e-3
    policy.log_prob(None, TEXTS)
    assert len(calls) == 4
    shutil.rmtree(tmp_path / "cache")
    policy.log_prob(None, TEXTS)
    assert len(calls) == 5


def test_an_adapter_counts(reference: HuggingFacePolicy, tmp_path: Path) -> None:
    """Two adapters on one base have numbers of their own, and so has the base."""
    model = moved_policy(reference)
    prepare(model)
    policy = reference.with_model(model)
    policy.cache = tmp_path
    first = policy.log_prob(None, TEXTS)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).mul_(2)
    second = policy.log_prob(None, TEXTS)
    assert not np.array_equal(first, second)
    policy.cache = None
    np.testing.assert_array_equal(policy.log_prob(None, TEXTS), second)
    assert len(list(tmp_path.glob("*.f64"))) == 2
