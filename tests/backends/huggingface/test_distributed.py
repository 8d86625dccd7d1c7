"""Two gloo processes against one: equal gradients and fits, with copied (DDP) and sharded (FSDP2) weights."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradients import OBJECTIVES, flat, relative_error, save_problem, step_gradient
from places import HELPERS
from toy_policies import make_problem
from two_processes import fit

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface import HuggingFacePolicy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sixteen(reference: HuggingFacePolicy) -> PolicyProblem:
    return make_problem(reference, n=16)


@pytest.fixture(scope="module")
def five(reference: HuggingFacePolicy) -> PolicyProblem:
    return make_problem(reference, n=5)


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def ranks(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    reference: HuggingFacePolicy,
    sixteen: PolicyProblem,
    five: PolicyProblem,
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp(request.param)
    reference.save(folder / "reference")
    save_problem(sixteen, folder / "sixteen.json")
    save_problem(five, folder / "five.json")
    worker = HELPERS / "two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(worker)]
    done = subprocess.run(
        [*command, str(folder), request.param],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]
    return [{**rank, "mode": request.param} for rank in found]


def test_two_processes_ran_and_shared_the_weights(ranks: list[dict[str, Any]]) -> None:
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert [rank["backend"] for rank in ranks] == ["gloo", "gloo"]
    sharded = ranks[0]["mode"] == "fsdp"
    for rank in ranks:
        for name in (*OBJECTIVES, "all weights"):
            assert rank[name]["sharded"] == ("FSDPSequenceLogProb" if sharded else "SequenceLogProb")
            assert rank[name]["share_held"] == pytest.approx(0.5 if sharded else 1.0, abs=0.01)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_is_that_of_one_process(
    ranks: list[dict[str, Any]], reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path, name: str
) -> None:
    """Micro-batch 2 x 4 in two processes, against 16 in one."""
    one, two = (rank[name] for rank in ranks)
    assert sorted(one["rows"] + two["rows"]) == list(range(16))
    assert len(one["rows"]) == len(two["rows"]) == 8
    torch.testing.assert_close(flat(one["gradient"]), flat(two["gradient"]), rtol=0, atol=0)
    single = step_gradient(reference, sixteen, OBJECTIVES[name], tmp_path, micro_batch=16, accumulation=1)
    assert relative_error(one["gradient"], single["gradient"]) < 1e-5
    assert one["loss"] == pytest.approx(single["loss"], rel=1e-4, abs=1e-5)
    assert one["metrics"][0]["loss"] == pytest.approx(single["loss"], rel=1e-4, abs=1e-5)
    assert two["metrics"] == []  # the main process alone reports


def test_the_gradient_of_all_weights(
    ranks: list[dict[str, Any]], reference: HuggingFacePolicy, sixteen: PolicyProblem, tmp_path: Path
) -> None:
    """The head trains too, and is tied to the embedding."""
    single = step_gradient(
        reference, sixteen, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=16, accumulation=1, all_weights=True
    )
    assert relative_error(ranks[0]["all weights"]["gradient"], single["gradient"]) < 1e-5


def test_unequally_many_rows(
    ranks: list[dict[str, Any]], reference: HuggingFacePolicy, five: PolicyProblem, tmp_path: Path
) -> None:
    """The last batch of an epoch may be smaller on one process; rows are still counted as often as they are read."""
    read = ranks[0]["five rows"]["rows"] + ranks[1]["five rows"]["rows"]
    assert set(read) == set(range(5))
    again = subset(five, read)
    single = step_gradient(reference, again, OBJECTIVES["dr_cpo"], tmp_path, micro_batch=len(read), accumulation=1)
    assert relative_error(ranks[0]["five rows"]["gradient"], single["gradient"]) < 1e-5
    assert ranks[0]["five rows"]["loss"] == pytest.approx(single["loss"], rel=1e-4, abs=1e-5)


def test_a_fit_is_that_of_one_process(
    ranks: list[dict[str, Any]], reference: HuggingFacePolicy, sixteen: PolicyProblem
) -> None:
    """Four steps of Adam, scored on the way; each process ends with all the weights, and so does one resumed."""
    np.testing.assert_array_equal(ranks[0]["fit"], ranks[1]["fit"])
    np.testing.assert_array_equal(ranks[0]["fit"], ranks[0]["resumed fit"])
    np.testing.assert_allclose(ranks[0]["fit"], fit(reference, sixteen, None, micro_batch=8), rtol=0, atol=2e-3)


def subset(problem: PolicyProblem, rows: list[int]) -> PolicyProblem:
    index = np.array(rows)
    arrays = {
        name: getattr(problem, name)[index] for name in ("behavior_log_prob", "residual", "g", "weight", "sampled_g")
    }
    texts = [problem.texts[i] for i in rows]
    return replace(problem, texts=texts, sampled_texts=[problem.sampled_texts[i] for i in rows], **arrays)
