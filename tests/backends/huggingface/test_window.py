"""Windows too small to learn from are refused or widened, and a fit that leaves the data behind stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_policies import make_problem
from transformers import TrainerCallback

from causalopt.backends.contracts import PolicyProblem, Progress
from causalopt.backends.huggingface import HuggingFaceBackend, HuggingFacePolicy
from causalopt.backends.huggingface.collapse import CollapseWatch
from causalopt.backends.huggingface.window import rows_to_repeat
from causalopt.errors import CollapseWarning, ConfigError, DataError
from causalopt.objectives.contract import BaseObjective, ObjectiveInputs
from causalopt.objectives.imitation import RWR, SFT, SFTTop
from causalopt.objectives.paper import CPO, DRCPO, OORLHF
from causalopt.objectives.probes import fewest_rows, weighs_by_ratio
from causalopt.run.config import parse_config
from causalopt.run.plan import prepare

ONE = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "max_steps": 1}


class Leaned(BaseObjective):
    """A plugin's: the reward less its mean over the window, so that a single one is nothing."""

    needs_samples = False
    couples_batch = True

    def __call__(self, inputs: ObjectiveInputs) -> torch.Tensor:
        reward = (inputs.residual + inputs.g).double()
        return -((reward - reward.mean()) * inputs.log_ratio.double().exp()).sum()


@pytest.mark.parametrize(
    ("objective", "per_row", "rows"),
    [
        (CPO(), 0, 2),
        (CPO(self_normalize=False, truncation_quantile=0.9), 1, 1),
        (DRCPO(), 1, 2),
        (DRCPO(), 2, 2),  # the drawn texts would be learnt from, and the correction would not
        (OORLHF(), 1, 2),
        (OORLHF(), 2, 1),
        (OORLHF(self_normalize=False), 1, 1),
        (SFT(), 0, 1),
        (SFTTop(), 0, 1),  # of two texts both are among the best
        (RWR(), 0, 2),
        (Leaned(), 0, 2),
    ],
)
def test_the_smallest_window(objective: Any, per_row: int, rows: int) -> None:
    assert fewest_rows(objective, per_row) == rows


def test_objectives_of_ratios() -> None:
    assert all(weighs_by_ratio(objective, 2) for objective in (CPO(), DRCPO(), OORLHF(), Leaned()))
    assert not any(weighs_by_ratio(objective, 2) for objective in (SFT(), SFTTop(), RWR()))


def test_a_window_of_one_is_refused_before_any_work(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path
) -> None:
    message = "per_device_train_batch_size or gradient_accumulation_steps to 2 or more"
    with pytest.raises(ConfigError, match=message):
        HuggingFaceBackend(training=ONE).fit(problem, DRCPO(), reference=reference, seed=0, progress=Progress())
    table = tmp_path / "table.csv"
    table.write_text("text,outcome\n" + "".join(f"text {i},{i % 7}\n" for i in range(80)))
    raw = {"data": {"path": str(table)}, "backend": {"name": "huggingface", "training": ONE}}
    with pytest.raises(ConfigError, match=message):
        prepare(parse_config(raw))
    prepare(parse_config({**raw, "objective": {"name": "dr_cpo", "self_normalize": False}}))


def test_a_last_window_of_one_is_widened(reference: HuggingFacePolicy) -> None:
    """33 rows in windows of 16: the third step sees two, and every row is seen."""
    problem, rows = make_problem(reference, 33), []

    def callback(event: str, metrics: Mapping[str, Any]) -> None:
        rows.append(metrics["num_tokens"])

    training = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "num_train_epochs": 1}
    HuggingFaceBackend(training=training).fit(
        problem, CPO(kl=0.0, forward_kl=0.0), reference=reference, seed=0, progress=Progress(callbacks=[callback])
    )
    tokens = [tokens.scored for tokens in reference.codec.encode(None, problem.texts)]
    assert len(rows) == 3
    assert rows[-1] - sum(tokens) in set(tokens)  # one row came twice
    assert rows[-1] - rows[-2] > max(tokens)


def test_each_pass_starts_with_the_scalars_of_all_rows(reference: HuggingFacePolicy) -> None:
    """Seven rows in windows of two, two passes: the first at the reference, the second where the first has led."""
    problem = replace(make_problem(reference, n=7), noise=np.arange(7.0))
    seen: list[ObjectiveInputs] = []

    class Watching(CPO):
        reads_whole_set = True

        def given(self, whole: ObjectiveInputs) -> CPO:
            seen.append(whole)
            return CPO(kl=0.1)

    training = {"per_device_train_batch_size": 2, "num_train_epochs": 2, "learning_rate": 1e-2}
    HuggingFaceBackend(training=training).fit(problem, Watching(), reference=reference, seed=0, progress=Progress())
    assert len(seen) == 2
    for whole in seen:
        torch.testing.assert_close(whole.residual, torch.tensor(problem.residual))
        torch.testing.assert_close(whole.noise, torch.tensor(problem.noise))
        assert len(whole.sampled_g) == 14
        assert not whole.log_ratio.requires_grad
    assert seen[0].log_ratio.abs().max() < 1e-3
    assert seen[1].log_ratio.abs().max() > 1e-2


def test_rows_are_repeated_only_where_one_is_left_alone() -> None:
    assert [rows_to_repeat(n, 16, CPO(), 0) for n in (16, 17, 18, 33)] == [0, 1, 0, 1]
    assert rows_to_repeat(17, 16, SFT(), 0) == 0
    with pytest.raises(DataError, match="single row"):
        rows_to_repeat(1, 16, CPO(), 0)


def test_a_collapse_is_five_windows_in_a_row_that_rest_on_one_text() -> None:
    far, near = {"weights/ess": 1.3, "forward_kl": 40.0}, {"weights/ess": 1.3, "forward_kl": 0.5}
    watch = CollapseWatch()
    assert not any(watch.sees(near, 16) for _ in range(9))  # texts that were drawn say that it is near
    assert not any(watch.sees({"weights/ess": 3.0, "forward_kl": 40.0}, 16) for _ in range(9))
    assert not any(watch.sees(far, 16) for _ in range(4))
    assert not watch.sees(near, 16)
    assert [watch.sees(far, 16) for _ in range(5)] == [False] * 4 + [True]
    assert not any(CollapseWatch().sees({"weights/ess": 1.0}, 1) for _ in range(9))


@pytest.mark.parametrize("lora", [None, False])
def test_a_fit_that_collapses_keeps_the_policy_from_before(
    reference: HuggingFacePolicy, problem: PolicyProblem, tmp_path: Path, lora: Any
) -> None:
    training = {
        "per_device_train_batch_size": 16,
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 40,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    backend = HuggingFaceBackend(lora=lora, training=training)
    steps: list[Mapping[str, Any]] = []
    progress = Progress(tmp_path, [lambda event, metrics: steps.append(metrics)])
    objective = CPO(kl=0.0, forward_kl=0.0)
    with pytest.warns(CollapseWarning, match=r"the policy collapsed: at step .*lower training.learning_rate \(now 1\)"):
        policy = backend.fit(problem, objective, reference=reference, seed=0, progress=progress)
    assert len(steps) < 40
    ratio = policy.log_prob(None, problem.texts) - problem.behavior_log_prob
    share = np.exp(ratio - np.logaddexp.reduce(ratio))
    assert 1 / np.sum(share**2) > 5  # of the whole data
    kept = policy.log_prob(None, problem.texts)
    # What a fit that has ended is asked for again is the same policy, and no step more.
    before = len(steps)
    with pytest.warns(CollapseWarning, match="the policy collapsed"):
        again = backend.fit(problem, objective, reference=reference, seed=0, progress=progress)
    np.testing.assert_allclose(again.log_prob(None, problem.texts), kept, atol=1e-4)
    assert len(steps) == before


def test_ordinary_fits_do_not_collapse(reference: HuggingFacePolicy, problem: PolicyProblem) -> None:
    """No warning (which would be an error here) with the defaults, nor without any anchor at four times their rate."""
    harder = replace(problem, residual=4 * problem.residual)
    for objective in (DRCPO(), CPO(kl=0.0, forward_kl=0.0)):
        backend = HuggingFaceBackend(training={"num_train_epochs": 2})
        backend.fit(harder, objective, reference=reference, seed=0, progress=Progress())


@pytest.mark.parametrize(
    ("training", "updates"),
    [
        ({}, 105),  # fifteen an epoch
        ({"num_train_epochs": 3}, 45),
        ({"max_steps": 2}, 2),
    ],
)
def test_few_rows_are_passed_over_until_the_policy_has_moved(
    reference: HuggingFacePolicy, problem: PolicyProblem, training: dict[str, Any], updates: int
) -> None:
    few = replace(
        problem,
        texts=problem.texts[:60],
        **{name: getattr(problem, name)[:60] for name in ("behavior_log_prob", "residual", "g", "weight")},
        sampled_texts=problem.sampled_texts[:60],
        sampled_g=problem.sampled_g[:60],
    )
    counted = _Updates()
    backend = HuggingFaceBackend(training={"per_device_train_batch_size": 4, **training}, callbacks=[counted])
    backend.fit(few, DRCPO(), reference=reference, seed=0, progress=Progress())
    assert counted.made == updates


class _Updates(TrainerCallback):
    """Counts the updates of a fit."""

    made = 0

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.made += 1
