"""A whole run in two processes, started as a user would, against the same run in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")]


def config(micro_batch: int) -> dict[str, Any]:
    """96 training rows, so that every batch is full; two processes of half the batch make the same step."""
    return {
        "data": {"world": {"name": "template"}, "rows": 137},
        "outcome_model": "ridge",
        "objective": {"kl": 0.3},
        "backend": {
            "name": "huggingface",
            "model": "scratch:tiny",
            "sampling": {"max_new_tokens": 24},  # after so few steps, most texts have no end
            "reference": {"training": {"num_train_epochs": 1, "per_device_train_batch_size": micro_batch}},
            "training": {"num_train_epochs": 1, "save_steps": 2, "per_device_train_batch_size": micro_batch},
        },
        "samples": {"per_row": 1},
        "choose": None,  # the same policy in both: a choice can turn on the last digits of a ratio
        "evaluation": {"draws": 40, "estimators": ["sndr", "dm"]},
        "comparisons": {"naive": {"outcome_model": "zero", "assignment_model": "randomized"}},
    }


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{path}/{key}")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(part, f"{path}/{i}")
    elif isinstance(value, (int, float)):
        yield path, float(value)


def test_two_processes_leave_the_metrics_of_one(tmp_path: Path) -> None:
    path, directory = tmp_path / "two.yaml", tmp_path / "two"
    path.write_text(yaml.safe_dump(config(micro_batch=16)), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, "-m", "causalopt", "run", str(path), "--out", str(directory)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Report:") == 1  # one process speaks
    for noise in ("Writing model shards", "Loading weights", "Warning", "[transformers]"):
        assert noise not in done.stderr
    one = dict(numbers(run(prepare(parse_config(config(micro_batch=32))), tmp_path / "one")))
    two = dict(numbers(json.loads((directory / "metrics.json").read_text(encoding="utf-8"))))
    assert two == pytest.approx(one, rel=1e-4, abs=1e-4)
    steps = [len((folder / "training.jsonl").read_text().splitlines()) for folder in (directory, tmp_path / "one")]
    assert steps == [3 * 3, 3 * 3]  # of the reference, the policy and the comparison
    assert sorted(path.name for path in directory.iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
