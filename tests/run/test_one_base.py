"""A run on a model from a folder: what it reads, what it hashes, and what it writes of its settings and events."""

from __future__ import annotations

import copy
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM

from causalopt.language_models import prefix_cache
from causalopt.language_models.scratch import make_model, train_tokenizer
from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare
from causalopt.simulation import TemplateWorld

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


def test_the_base_is_read_and_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = train_tokenizer(TemplateWorld().texts)
    tokenizer.save_pretrained(tmp_path / "model")
    model = make_model(tokenizer, 64, seed=0)
    model.save_pretrained(tmp_path / "model")
    fit = {"max_steps": 2, "report_to": "tensorboard" if has_tensorboard() else "none", "logging_steps": 1}
    config = parse_config(
        {
            "data": {"world": {"name": "template"}, "rows": 120},
            "outcome_model": "ridge",
            "assignment_model": "gaussian",
            "samples": {"per_row": 1, "max_new_tokens": 8},
            "backend": {
                "name": "huggingface",
                "model": str(tmp_path / "model"),
                "reference": {"training": fit},
                "training": fit,
                "sampling": {"rounds": 1},
            },
            "choose": None,
            "evaluation": {"draws": 20, "estimators": ["snipw", "dm"]},
        }
    )
    reads: list[Any] = []
    hashed: Counter[bytes] = Counter()
    read, count = AutoModelForCausalLM.from_pretrained, prefix_cache._hash

    def counted(tensor: Any) -> bytes:
        found = count(tensor)
        hashed[found] += tensor.numel() >= 64 * 64  # not norms, which are all ones
        return found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *a, **k: reads.append(a) or read(*a, **k))
    monkeypatch.setattr(prefix_cache, "_hash", counted)
    plan = prepare(config)
    assert not reads
    run(plan, tmp_path / "run")
    assert len(reads) == 1
    frozen = {count(weight) for weight in copy.deepcopy(model).parameters() if weight.numel() >= 64 * 64}
    assert {hashed[digest] for digest in frozen} == {1}
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["backend"]
    assert written["training"]["learning_rate"] == 5e-4
    assert written["lora"]["lora_alpha"] == 16
    assert prepare(parse_config({**config.model_dump(), "backend": written})).config.backend == written
    if has_tensorboard():
        events = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("events.*")}
        assert events == {"run/tensorboard/reference", "run/tensorboard/policy"}


def has_tensorboard() -> bool:
    return find_spec("tensorboard") is not None
