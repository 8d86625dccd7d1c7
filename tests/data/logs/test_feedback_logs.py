"""Exports of tools for tracing and annotation, written by hand in their formats, from files to rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.logs import LOGS, read_log
from causalopt.data.proposal import propose_log
from causalopt.errors import ConfigError, DataError
from causalopt.messages import write_prompt
from causalopt.run.config import load_config
from causalopt.run.first_configuration import as_yaml, first_backend
from causalopt.run.tables import read_dataset

N = 60
ASKED = [
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Question {i % 6}?"}] for i in range(N)
]
TEXTS = [f"Answer {i % 9} to you." for i in range(N)]
RATED = [i for i in range(N) if i % 3]
STARS = {i: float(i % 5 + 1) for i in RATED}
USERS = [f"user {i % 10}" for i in range(N)]


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")


def langfuse(folder: Path) -> None:
    observations = [
        {"id": f"o{i}", "trace_id": f"t{i}", "type": "GENERATION", "input": json.dumps(ASKED[i]),
         "output": json.dumps({"role": "assistant", "content": TEXTS[i]}), "user_id": USERS[i],
         "session_id": f"s{i // 2}", "provided_model_name": "small", "prompt_name": "helper",
         "prompt_version": i % 2 + 1, "start_time": "2026-01-01 10:00:00.000000"}
        for i in range(N)
    ]  # fmt: skip
    observations.append({"id": "o-tool", "trace_id": "t0", "type": "SPAN", "output": "no text"})
    scores = [
        {"id": f"c{i}", "trace_id": f"t{i}", "observation_id": f"o{i}" if i % 2 else None, "name": "stars",
         "value": STARS[i], "data_type": "NUMERIC"}
        for i in RATED
    ]  # fmt: skip
    write_lines(folder / "observations_v2" / "2026-01-01.jsonl", observations)
    write_lines(folder / "scores" / "2026-01-01.jsonl", scores)


def tensorzero(folder: Path) -> None:
    inferences = [
        {"id": f"i{i}", "episode_id": f"e{i // 2}", "function_name": "answer", "variant_name": f"v{i % 2}",
         "input": json.dumps({"system": "Be kind.", "messages": [
             {"role": "user", "content": [{"type": "text", "text": ASKED[i][1]["content"]}]}]}),
         "output": json.dumps([{"type": "text", "text": TEXTS[i]}]), "tags": {"user_id": USERS[i]},
         "timestamp": "2026-01-01T10:00:00Z"}
        for i in range(N)
    ]  # fmt: skip
    feedback = [{"id": f"f{i}", "target_id": f"i{i}", "metric_name": "stars", "value": STARS[i]} for i in RATED]
    write_lines(folder / "ChatInference.jsonl", inferences)
    write_lines(folder / "FloatMetricFeedback.jsonl", feedback)


def phoenix(folder: Path) -> None:
    spans = pd.DataFrame([
        {"context.span_id": f"s{i}", "context.trace_id": f"t{i // 2}", "span_kind": "LLM",
         "attributes.llm.input_messages": [{f"message.{key}": m[key] for key in m} for m in ASKED[i]],
         "attributes.llm.output_messages": [{"message.role": "assistant", "message.content": TEXTS[i]}],
         "attributes.user.id": USERS[i], "attributes.llm.model_name": "small", "start_time": pd.Timestamp("2026-01-01")}
        for i in range(N)
    ])  # fmt: skip
    spans.loc[N] = {"context.span_id": "chain", "span_kind": "CHAIN"}
    annotations = pd.DataFrame([
        {"span_id": f"s{i}", "annotation_name": "stars", "annotator_kind": "HUMAN", "result.score": STARS[i]}
        for i in RATED
    ]).set_index("span_id")  # fmt: skip
    folder.mkdir()
    spans.set_index("context.span_id").to_parquet(folder / "spans.parquet")
    annotations.to_parquet(folder / "annotations.parquet")


def mlflow(folder: Path) -> None:
    write_lines(folder / "traces.jsonl", [
        {"trace_id": f"t{i}", "request": {"messages": ASKED[i]},
         "response": {"choices": [{"message": {"role": "assistant", "content": TEXTS[i]}}]},
         "trace_metadata": {"mlflow.trace.user": USERS[i], "mlflow.trace.session": f"s{i // 2}"},
         "assessments": [
             {"assessment_name": "stars", "feedback": {"value": STARS.get(i)}},
             {"assessment_name": "truth", "expectation": {"value": "so"}},
         ]}
        for i in range(N)
    ])  # fmt: skip


def label_studio(folder: Path) -> None:
    folder.mkdir()
    tasks = [
        {"id": i, "data": {"messages": ASKED[i], "response": TEXTS[i]}, "annotations": [
            {"id": 100 + i, "completed_by": USERS[i], "was_cancelled": False, "result": [
                {"type": "rating", "from_name": "stars", "to_name": "response", "value": {"rating": int(STARS[i])}}
            ] if i in STARS else []}
        ]}
        for i in range(N)
    ]  # fmt: skip
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")


def argilla(folder: Path) -> None:
    datasets.Dataset.from_list([
        {"chat": ASKED[i], "response": TEXTS[i], "stars.responses": [int(STARS[i])] if i in STARS else None,
         "stars.responses.users": [USERS[i]] if i in STARS else None,
         "stars.responses.status": ["submitted"] if i in STARS else None}
        for i in range(N)
    ]).save_to_disk(str(folder))  # fmt: skip


WRITERS: dict[str, Callable[[Path], None]] = {
    "langfuse": langfuse, "tensorzero": tensorzero, "phoenix": phoenix, "mlflow": mlflow,
    "label-studio": label_studio, "argilla": argilla,
}  # fmt: skip


def through_init(name: str, path: Path) -> DirectOutcomeDataset:
    log = read_log(name, path)
    proposal = propose_log(log, {}, str(path), name)
    assert not proposal.missing
    config = path.parent / f"{name}.yaml"
    config.write_text(as_yaml(path, proposal, *first_backend(log.frame, proposal.settings)), encoding="utf-8")
    settings = load_config(config).data
    assert settings.path is not None
    return read_dataset(settings.path, settings)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_an_export_becomes_rated_and_unrated_rows(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / "export")
    data = through_init(name, tmp_path / "export")
    assert data.texts == TEXTS
    assert data.prompts == [write_prompt(asked) for asked in ASKED]
    assert np.flatnonzero(data.rated).tolist() == RATED
    assert data.outcome[data.rated].tolist() == [STARS[i] for i in RATED]
    if name != "argilla":  # which knows no user for a text that nobody rated
        assert len(np.unique(data.reader)) == 10
    if name in ("langfuse", "tensorzero", "mlflow"):
        assert len(np.unique(data.group)) == N // 2
    if name in ("langfuse", "tensorzero"):
        assert len(set(data.logger or ())) == 2
    assert not len(data.covariates.columns)


def test_feedback_belongs_to_a_trace_or_an_episode_too(tmp_path: Path) -> None:
    tensorzero(tmp_path / "export")
    write_lines(tmp_path / "export" / "BooleanMetricFeedback.jsonl", [
        {"target_id": "e3", "metric_name": "solved", "value": True},
        {"target_id": "e4", "metric_name": "solved", "value": False},
    ])  # fmt: skip
    log = read_log("tensorzero", tmp_path / "export")
    assert sorted(log.scores) == ["solved", "stars"]
    given = log.frame["solved"]
    assert {i: given[i] for i in range(N) if given[i] is not None} == {6: True, 7: True, 8: False, 9: False}
    assert propose_log(log, {}, "t", "tensorzero").missing == ("outcome",)
    named = propose_log(log, {"outcome": "solved"}, "t", "tensorzero").settings
    assert (named["outcome"], named["on_missing"], "covariates" in named) == ("solved", "model", False)


def test_what_is_no_export_is_named(tmp_path: Path) -> None:
    langfuse(tmp_path / "export")
    with pytest.raises(ConfigError, match=r"no log is called 'langfus' \(did you mean 'langfuse'\?\)"):
        read_log("langfus", tmp_path / "export")
    with pytest.raises(DataError, match="there is no such file or folder"):
        read_log("langfuse", tmp_path / "none")
    with pytest.raises(DataError, match="holds no text that a model wrote; is this an export of TensorZero"):
        read_log("tensorzero", tmp_path / "export")
    (tmp_path / "export" / "scores" / "2026-01-01.jsonl").unlink()
    with pytest.raises(DataError, match="holds 60 texts and no feedback; export the feedback too"):
        read_log("langfuse", tmp_path / "export")
    write_lines(tmp_path / "export" / "scores" / "x.jsonl", [{"trace_id": "elsewhere", "name": "stars", "value": 1}])
    with pytest.raises(DataError, match="none of its feedback names a text of it"):
        read_log("langfuse", tmp_path / "export")
