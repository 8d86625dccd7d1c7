from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradients import OBJECTIVES, moved_policy, relative_error, step_gradient
from toy_policies import make_problem

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.backends.huggingface.trainer import ObjectiveTrainer
from causalopt.language_models.scoring import SequenceLogProb
from causalopt.objectives.contract import BaseObjective, Objective, ObjectiveInputs


@pytest.fixture(scope="module")
def sixteen(reference: HuggingFacePolicy) -> PolicyProblem:
    """One window of rows with unequal weights, whose residuals come from a second stage."""
    return replace(make_problem(reference, n=16), noise=np.random.default_rng(2).normal(size=16))


def independent(
    reference: HuggingFacePolicy, problem: PolicyProblem, objective: Objective
) -> tuple[dict[str, torch.Tensor], float]:
    """Gradient and loss of the whole batch in float64, by autograd through the model's own logits."""
    model = copy.deepcopy(moved_policy(reference)).double()

    def log_prob(texts: list[str]) -> torch.Tensor:
        totals = []
        for text in texts:
            ids = torch.tensor([reference.codec.encode(None, [text])[0].ids])
            log_softmax = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            totals.append(log_softmax.gather(1, ids[0, 1:, None]).sum())
        return torch.stack(totals) if totals else torch.zeros(0, dtype=torch.float64)

    k = problem.sampled_g.shape[1] if objective.needs_samples else 0
    drawn = [text for row in problem.sampled_texts for text in row[:k]]
    of_reference = torch.tensor(reference.log_prob(None, drawn))
    length = {text: float(reference.codec.encode(None, [text])[0].scored) for text in [*problem.texts, *drawn]}
    inputs = ObjectiveInputs(
        log_ratio=log_prob(list(problem.texts)) - torch.tensor(problem.behavior_log_prob),
        residual=torch.tensor(problem.residual),
        g=torch.tensor(problem.g),
        weight=torch.tensor(problem.weight),
        length=torch.tensor([length[text] for text in problem.texts]),
        sampled_log_ratio=log_prob(drawn) - of_reference,
        sampled_g=torch.tensor(problem.sampled_g[:, :k].reshape(-1)),
        sampled_weight=torch.tensor(np.repeat(problem.weight, k)),
        sampled_length=torch.tensor([length[text] for text in drawn]),
        sampled_reference_log_prob=of_reference,
        noise=torch.tensor(problem.noise),
    )
    # The window is the whole training set here, and its moments are those of the first pass.
    fixed = {name: getattr(inputs, name).detach() for name in ("log_ratio", "sampled_log_ratio")}
    loss = objective.given(replace(inputs, **fixed))(inputs)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, loss.item()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("micro_batch", "accumulation"), [(16, 1), (4, 4), (1, 16), (3, 6)])
def test_the_gradient_is_that_of_the_whole_window(
    reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path, name: str, micro_batch: int, accumulation: int
) -> None:
    want, loss = independent(reference, sixteen, OBJECTIVES[name])
    got = step_gradient(
        reference, sixteen, OBJECTIVES[name], tmp_path, micro_batch=micro_batch, accumulation=accumulation
    )
    single = step_gradient(reference, sixteen, OBJECTIVES[name], tmp_path, micro_batch=16, accumulation=1)
    assert sorted(got["rows"]) == list(range(16))
    assert relative_error(got["gradient"], single["gradient"]) < 1e-5
    assert relative_error(got["gradient"], want) < 1e-4  # what float32 alone makes of sums that nearly cancel
    assert got["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5)
    assert got["metrics"][0]["loss"] == pytest.approx(loss, rel=1e-4, abs=1e-5)


def test_a_sum_is_of_the_window_however_that_is_cut(
    reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path
) -> None:
    """Not divided by the weights of the micro-batch, nor by the number of micro-batches."""

    class Sum(BaseObjective):
        needs_samples = True
        couples_batch = False

        def __call__(self, inputs: ObjectiveInputs) -> torch.Tensor:
            drawn = (inputs.sampled_log_ratio.double().exp() * inputs.sampled_g).sum()
            return -(inputs.weight * inputs.log_ratio.double().exp() * inputs.residual).sum() - drawn

    whole = step_gradient(reference, sixteen, Sum(), tmp_path, micro_batch=16, accumulation=1)
    cut = step_gradient(reference, sixteen, Sum(), tmp_path, micro_batch=4, accumulation=4)
    assert relative_error(cut["gradient"], whole["gradient"]) < 1e-5
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert cut["metrics"][0]["loss"] == pytest.approx(whole["metrics"][0]["loss"], rel=1e-5)


def test_a_coupled_objective_that_does_not_say_so_would_be_seen(
    reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path
) -> None:
    """The bound above tells the exact gradient from that of ratios normalised by others which stand at one."""
    want, _ = independent(reference, sixteen, OBJECTIVES["dr_cpo"])

    class Uncoupled(BaseObjective):
        needs_samples = True
        couples_batch = False

        def __call__(self, inputs: ObjectiveInputs) -> torch.Tensor:
            return OBJECTIVES["dr_cpo"](inputs)

    got = step_gradient(reference, sixteen, Uncoupled(), tmp_path, micro_batch=4, accumulation=4)
    assert relative_error(got["gradient"], want) > 1e-3


def test_scoring_first_changes_nothing(reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path) -> None:
    direct = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=16, accumulation=1)
    scored = step_gradient(
        reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=16, accumulation=1, score_first=True
    )
    assert relative_error(scored["gradient"], direct["gradient"]) < 1e-5
    assert scored["loss"] == pytest.approx(direct["loss"], abs=1e-5)
    same = {"stage", "step", "epoch", "num_tokens"}
    for key, value in direct["metrics"][0].items():
        assert scored["metrics"][0][key] == (value if key in same else pytest.approx(value, rel=1e-3, abs=1e-5))


@pytest.mark.parametrize("bf16", [False, True])
def test_the_first_micro_batch_is_run_once(
    reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool
) -> None:
    """Its scoring pass is half of its gradient pass; in float32 the gradient is the same bit for bit."""
    calls = []
    log_prob = SequenceLogProb.log_prob

    def counted(self: SequenceLogProb, ids: torch.Tensor, length: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        if not torch.is_inference_mode_enabled():  # which is how a policy scores
            calls.append(torch.is_grad_enabled())
        return log_prob(self, ids, length, start)

    whole: dict[str, Any] = {"micro_batch": 4, "accumulation": 4, "bf16": bf16, "score_first": bf16}
    with monkeypatch.context() as patched:
        patched.setattr(ObjectiveTrainer, "_scores_as_it_trains", lambda self: False)
        expected = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, **whole)
    monkeypatch.setattr(SequenceLogProb, "log_prob", counted)
    found = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, **whole)
    assert len(calls) == 4 + 3
    assert sum(calls) == 4
    assert relative_error(found["gradient"], expected["gradient"]) < (0.05 if bf16 else 1e-30)


@pytest.mark.parametrize(("micro_batch", "accumulation"), [(16, 1), (4, 4)])
def test_bfloat16_has_exact_coefficients_and_a_near_gradient(
    reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path, micro_batch: int, accumulation: int
) -> None:
    whole: dict[str, Any] = {"micro_batch": micro_batch, "accumulation": accumulation}
    exact = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, **whole)
    half = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, **whole, bf16=True, score_first=True)
    assert half["loss"] == pytest.approx(exact["loss"], abs=1e-5)  # the float32 pass is not under autocast
    assert half["metrics"][0]["forward_kl"] == pytest.approx(exact["metrics"][0]["forward_kl"], abs=1e-5)
    error = relative_error(half["gradient"], exact["gradient"])
    assert 1e-5 < error < 0.1  # and the gradient pass is


def test_metrics_are_of_the_window(reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path) -> None:
    policy = HuggingFacePolicy(moved_policy(reference).eval(), reference.codec, base=None)
    drawn = [text for row in sixteen.sampled_texts for text in row]
    on_data, on_drawn = policy.log_prob(None, sixteen.texts), policy.log_prob(None, drawn)
    log_ratio, weight = on_data - sixteen.behavior_log_prob, sixteen.weight
    share = weight * np.exp(log_ratio) / (weight * np.exp(log_ratio)).sum()
    drawn_ratio = on_drawn - reference.log_prob(None, drawn)
    drawn_share = np.repeat(weight, 2) / np.repeat(weight, 2).sum()
    metrics = step_gradient(reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=4, accumulation=4)[
        "metrics"
    ][0]
    assert metrics["weights/ess"] == pytest.approx(1 / (share**2).sum(), rel=1e-3)
    assert metrics["weights/max"] == pytest.approx(share.max(), rel=1e-3)
    assert metrics["logps/data"] == pytest.approx((weight * on_data).sum() / weight.sum(), abs=1e-3)
    assert metrics["logps/sampled"] == pytest.approx((drawn_share * on_drawn).sum(), abs=1e-3)
    ratio = np.exp(drawn_ratio)
    assert metrics["forward_kl"] == pytest.approx((drawn_share * (ratio - 1 - drawn_ratio)).sum(), abs=1e-4)
    tokens = sum(tokens.scored for tokens in reference.codec.encode(None, [*sixteen.texts, *drawn]))
    assert metrics["num_tokens"] == tokens
