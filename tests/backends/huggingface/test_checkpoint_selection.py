"""Which policy of a fit is kept, and what enters its g term on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradients import load_problem, save_problem
from places import HELPERS
from toy_policies import TEXTS, Highest, dose, make_problem, until_kl

from causalopt.backends.contracts import Policy, PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.objectives.paper import CPO, DRCPO

TRAINING = {"max_steps": 10, "save_steps": 2, "per_device_train_batch_size": 16, "learning_rate": 3e-3}


def doses(texts: Sequence[str], prompts: Sequence[str] | None) -> np.ndarray:
    return np.array([dose(text) for text in texts])


def fitted(
    reference: HuggingFacePolicy, problem: PolicyProblem, directory: Path | None = None, **settings: Any
) -> tuple[HuggingFacePolicy, list[tuple[str, Mapping[str, Any]]]]:
    told: list[tuple[str, Mapping[str, Any]]] = []
    rule = settings.pop("rule", None)
    progress = Progress(directory, [lambda event, metrics: told.append((event, metrics))])
    backend = HuggingFaceBackend(**{"training": TRAINING, **settings})
    policy = backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=progress, on_checkpoint=rule)
    return policy, told


def test_the_best_by_score_is_kept(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    order: list[np.ndarray] = []

    def score(policy: Policy) -> float:
        order.append(policy.log_prob(None, TEXTS))
        return steps[len(order) - 1]

    steps = [0.5, 1.0, 4.0, 2.0, 3.0, 3.9]
    policy, told = fitted(reference, problem, rule=Highest(score))
    scored = [metrics for event, metrics in told if event == "score"]
    assert [metrics["step"] for metrics in scored] == [2, 4, 6, 8, 10]
    best = next(metrics for metrics in scored if metrics["score"] == 4.0)["step"]
    np.testing.assert_allclose(policy.log_prob(None, TEXTS), order[steps.index(4.0)], atol=1e-5, rtol=0)
    assert best < 10


def test_a_fit_ends_when_patience_does(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path) -> None:
    def rule() -> Highest:
        def score(policy: Policy) -> float:
            return -float(np.abs(policy.log_prob(None, TEXTS) - reference.log_prob(None, TEXTS)).max())

        return Highest(score, patience=2)

    with pytest.warns(CausalOptWarning, match="the policy is the reference itself"):
        policy, told = fitted(reference, problem, tmp_path, rule=rule())
    assert [metrics["step"] for event, metrics in told if event == "score"] == [2, 4]
    np.testing.assert_allclose(policy.log_prob(None, TEXTS), reference.log_prob(None, TEXTS), atol=1e-4, rtol=0)
    with pytest.warns(CausalOptWarning, match="the reference itself"):  # resumed, it is over already
        _, again = fitted(reference, problem, tmp_path, rule=rule())
    assert again == []


def test_a_fit_ends_at_the_first_policy_beyond_its_kl(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    faster = {"training": {**TRAINING, "learning_rate": 5e-3}}
    _, free = fitted(reference, problem, rule=until_kl(1e9, reference, problem), **faster)
    kl = [metrics["kl"] for event, metrics in free if event == "score"]
    limit = (kl[1] + kl[2]) / 2
    assert kl[0] < kl[1] < limit < kl[2]
    policy, told = fitted(reference, problem, rule=until_kl(limit, reference, problem), **faster)
    assert [metrics["step"] for event, metrics in told if event == "score"] == [2, 4, 6]
    # Independently, by the sum over the grammar and one class for all other texts.
    p, q = (np.exp(which.log_prob(None, TEXTS)) for which in (policy, reference))
    p, q = np.append(p, 1 - p.sum()), np.append(q, 1 - q.sum())
    assert float(p @ np.log(p / q)) == pytest.approx(kl[2], rel=0.3)


def test_new_texts_enter_the_g_term(reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path) -> None:
    known = replace(problem, dose_response=doses)
    refresh = {"every_steps": 3, "per_row": 1}
    policy, told = fitted(reference, known, refresh=refresh)
    tokens = [metrics["num_tokens"] for _, metrics in told]
    assert tokens[5] - tokens[3] > 1.2 * (tokens[2] - tokens[0])  # a third sampled text for each row
    plain, _ = fitted(reference, known)
    assert not np.allclose(policy.log_prob(None, TEXTS), plain.log_prob(None, TEXTS))
    probability = np.exp(policy.log_prob(None, TEXTS))
    before = np.exp(reference.log_prob(None, TEXTS))
    value = [float(p @ doses(TEXTS, None) / p.sum()) for p in (before, probability)]
    assert value[1] > value[0]


def test_refresh_needs_a_g_term_and_a_dose_response(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    backend = HuggingFaceBackend(training=TRAINING, refresh={"every_steps": 3})
    with pytest.raises(ConfigError, match="no dose_response"):
        backend.fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    known = replace(problem, dose_response=doses)
    with pytest.raises(ConfigError, match="CPO has no g term"):
        backend.fit(known, CPO(), reference=reference, seed=0, progress=Progress())


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gradients import load_problem
from test_checkpoint_selection import resumable
from causalopt.backends.huggingface import HuggingFacePolicy
folder, kind, at = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
def kill(event, metrics):
    if metrics["step"] == at:
        os.kill(os.getpid(), signal.SIGKILL)
reference, problem = HuggingFacePolicy.load(folder / "reference"), load_problem(folder / "problem.json")
resumable(reference, problem, kind, folder / kind, kill)
"""
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"refresh": {"every_steps": 2}},
    "all weights": {"lora": False},
}


def resumable(
    reference: HuggingFacePolicy, problem: PolicyProblem, kind: str, directory: Path | None, *callbacks: Any
) -> HuggingFacePolicy:
    training = {**TRAINING, "learning_rate": 1e-3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}
    backend = HuggingFaceBackend(training=training, **KINDS[kind])
    known = replace(problem, dose_response=doses)
    rule = until_kl(1e9, reference, known) if kind == "lora" else None
    progress = Progress(directory, callbacks)
    return backend.fit(known, DRCPO(), reference=reference, seed=0, progress=progress, on_checkpoint=rule)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_step_it_ends_with_the_same_weights(
    reference: HuggingFacePolicy, tmp_path: Path, kind: str
) -> None:
    """Kill -9 at a random step of a fit; resumed, every weight has the same bits as without the kill."""
    reference.save(tmp_path / "reference")
    save_problem(make_problem(reference, n=48), tmp_path / "problem.json")
    loaded, problem = HuggingFacePolicy.load(tmp_path / "reference"), load_problem(tmp_path / "problem.json")
    at = int(np.random.default_rng().integers(3, 11))
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path), kind, str(at)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HELPERS)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen: list[int] = []
    resumed = resumable(
        loaded, problem, kind, tmp_path / kind, lambda event, m: seen.append(m["step"]) if event == "step" else None
    )
    assert seen[0] == (at - 1) // 2 * 2 + 1, f"killed at step {at}"
    expected = dict(resumable(loaded, problem, kind, None).model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, expected[name]), f"{name}, killed at step {at}"
