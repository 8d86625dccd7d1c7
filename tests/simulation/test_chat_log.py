"""`causalopt simulate`, and the run of configs/chat.yaml with a tiny chat model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from chat_models import save_model
from places import ROOT
from typer.testing import CliRunner

from causalopt import DirectOutcomeDataset
from causalopt.backends.huggingface import HuggingFacePolicy
from causalopt.cli.main import app
from causalopt.errors import ConfigError
from causalopt.language_models.tokenization import TextCodec
from causalopt.messages import write_prompt
from causalopt.run.config import load_config, parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare
from causalopt.simulation import LoggedTrafficWorld, TemplateWorld
from causalopt.simulation.chat_log import chat_log

ROLES: dict[str, Any] = {
    "text": "messages",
    "outcome": "rating",
    "covariates": ["engagement", "age", "region"],
    "behavior_log_prob": "behavior_log_prob",
}


def test_a_simulated_log_is_read_as_the_worlds_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    found = CliRunner().invoke(app, ["simulate", "logged-traffic", str(path), "--rows", "30", "--seed", "5"])
    assert found.exit_code == 0, found.output
    data, expected = DirectOutcomeDataset.from_path(path, **ROLES), LoggedTrafficWorld().sample(30, 5)
    assert data.texts == expected.texts
    assert expected.prompts is not None
    assert data.prompts == [write_prompt([{"role": "user", "content": prompt}]) for prompt in expected.prompts]
    np.testing.assert_array_equal(data.outcome, expected.outcome)
    np.testing.assert_array_equal(data.behavior_log_prob, expected.behavior_log_prob)  # type: ignore[arg-type]
    assert data.covariates.equals(expected.covariates)


def test_a_world_without_prompts_has_no_conversations() -> None:
    with pytest.raises(ConfigError, match="has no prompts"):
        chat_log(TemplateWorld().sample(20, 0))


def test_the_configuration_reads_such_a_log() -> None:
    config = load_config(ROOT / "configs" / "chat.yaml")
    assert {name: value for name, value in config.data.roles().items() if name in ROLES} == {
        **ROLES,
        "covariates": tuple(ROLES["covariates"]),
    }


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")  # a small run has much to warn of
def test_a_run_on_a_chat_log(tmp_path: Path) -> None:
    """The log of a tiny model: its log-probabilities are recognised, and every page shows what people read."""
    save_model("smollm", tmp_path / "model", likely=0.15)
    policy = HuggingFacePolicy.load(tmp_path / "model")
    raw = yaml.safe_load((ROOT / "configs" / "chat.yaml").read_text(encoding="utf-8"))
    raw["data"]["path"] = str(tmp_path / "log.jsonl")
    raw["embedder"]["dimensions"] = 4
    raw["backend"] |= {
        "model": str(tmp_path / "model"),
        "lora": {"r": 2},
        "training": {"max_steps": 2},
        "sampling": {"max_new_tokens": 60},
    }
    raw |= {"evaluation": {"draws": 20, "estimators": ["sndr", "dm"]}, "choose": None}
    plain = LoggedTrafficWorld().sample(120, 0)
    assert plain.prompts is not None
    chat = policy.with_codec(TextCodec(policy.codec.tokenizer, 512, chat_template=True))
    q = chat.log_prob(plain.prompts, plain.texts)
    lines = [json.loads(line) for line in chat_log(plain).splitlines()]
    rows = [json.dumps({**line, "behavior_log_prob": value}) for line, value in zip(lines, q.tolist(), strict=True)]
    (tmp_path / "log.jsonl").write_text("\n".join(rows))
    metrics = run(prepare(parse_config(raw)), tmp_path / "run")
    assert "are those of the reference model in 64 of 64 rows scored" in metrics["logged_log_prob"]
    said = " ".join(metrics["warnings"])
    assert "prompts are written by the model's chat template, and texts end with its '<|im_end|>'" in said
    assert "inserts a system prompt of its own into 6 of 6 prompts, 'You are brief.'" in said
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert plain.prompts[0] in report
    assert "&#34;role&#34;" not in report
    note = json.loads((tmp_path / "run" / "policy" / "causalopt_policy.json").read_text())
    assert (note["chat_template"], note["tokenization"]) == (True, "apart")
