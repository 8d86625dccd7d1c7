"""Chat logs as `trl`, ShareGPT and servers write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset, PseudoOutcomeEstimator
from causalopt.data.messages import as_prompts
from causalopt.embedding import embed
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning
from causalopt.messages import readable, write_prompt

SYSTEM, WHY, RAIN = (
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Why?"},
    {"role": "user", "content": "Is it raining?"},
)
ASKED = [[SYSTEM, WHY], [RAIN], [WHY, {"role": "assistant", "content": "So."}, RAIN]]
TEXTS = ["It is blue.", "No.", "Yes."]
RATING = [1.0, 3.0, 2.0]
PROMPTS = [write_prompt(messages) for messages in ASKED]
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def conversational() -> list[dict[str, Any]]:
    """The columns of conversational data sets of `trl`."""
    rows = zip(ASKED, TEXTS, RATING, strict=True)
    return [{"prompt": asked, "completion": [answer(text)], "rating": rating} for asked, text, rating in rows]


def whole() -> list[dict[str, Any]]:
    return [{"messages": [*row["prompt"], *row["completion"]], "rating": row["rating"]} for row in conversational()]


def sharegpt() -> list[dict[str, Any]]:
    return [
        {
            "conversations": [{"from": SHAREGPT[m["role"]], "value": m["content"]} for m in row["messages"]],
            "rating": row["rating"],
        }
        for row in whole()
    ]


SHAPES: dict[str, Any] = {
    "trl": (conversational, {"text": "completion", "prompt": "prompt"}),
    "messages": (whole, {"text": "messages"}),
    "sharegpt": (sharegpt, {"text": "conversations"}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "datasets"])
def test_every_shape_and_file_gives_the_same_data(shape: str, suffix: str, tmp_path: Path) -> None:
    make, roles = SHAPES[shape]
    path = tmp_path / f"log.{suffix}"
    if suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in make()))
    elif suffix == "parquet":
        pd.DataFrame(make()).to_parquet(path)
    else:
        datasets.Dataset.from_list(make()).save_to_disk(path)
    data = DirectOutcomeDataset.from_path(path, outcome="rating", **roles)
    assert (data.prompts, data.texts) == (PROMPTS, TEXTS)
    expected = pd.DataFrame({"p": PROMPTS, "t": TEXTS, "rating": RATING})
    assert (
        data.fingerprint()
        == DirectOutcomeDataset.from_frame(expected, text="t", prompt="p", outcome="rating").fingerprint()
    )
    again = DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
    assert again.fingerprint() == data.fingerprint()


def test_tools_and_calls_stay_as_they_are(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "rain"}}]}
    asked = [WHY, call, {"role": "tool", "name": "rain", "content": "no"}]
    tools = [{"type": "function", "function": {"name": "rain", "parameters": {"default": None}}}]
    rows = [
        {"prompt": asked, "text": "No.", "outcome": 1, "tools": tools},
        {"prompt": "Why?", "text": "So.", "outcome": 2, "tools": tools},
        {"prompt": "Why?", "text": "So.", "outcome": 2, "tools": None},
    ]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = DirectOutcomeDataset.from_jsonl(tmp_path / "log.jsonl", prompt="prompt", tools="tools")
    call.pop("content")
    assert data.prompts == [write_prompt(asked, tools), write_prompt([WHY], tools), "Why?"]
    frame = pd.DataFrame([{**rows[0], "tools": [*tools, {"type": "other"}]}, {**rows[0], "outcome": 2}])
    frame.to_parquet(tmp_path / "log.parquet")  # Arrow fills in what the second tool lacks, and the default is gone
    by_arrow = DirectOutcomeDataset.from_parquet(tmp_path / "log.parquet", prompt="prompt", tools="tools")
    bare = [{"type": "function", "function": {"name": "rain", "parameters": {}}}]
    assert by_arrow.prompts == [write_prompt(asked, [*bare, {"type": "other"}]), write_prompt(asked, bare)]


def test_text_in_parts_and_prompts_that_are_partly_plain() -> None:
    frame = pd.DataFrame(
        {
            "prompt": ["Why?", [{"role": "user", "content": [{"type": "text", "text": "W"}, {"text": "hy?"}]}]],
            "text": ["So.", [answer("Well.")]],
            "outcome": [1.0, 2.0],
        }
    )
    data = DirectOutcomeDataset.from_frame(frame, prompt="prompt")
    assert data.prompts == ["Why?", write_prompt([WHY])]
    assert data.texts == ["So.", "Well."]


def test_a_column_named_prompt_is_not_overwritten() -> None:
    frame = pd.DataFrame({"messages": [[WHY, answer("a")], [RAIN, answer("b")]], "prompt": ["x", "y"], "o": [1, 2]})
    data = DirectOutcomeDataset.from_frame(frame, text="messages", outcome="o", covariates=["prompt"])
    assert data.prompts == [write_prompt([WHY]), write_prompt([RAIN])]
    assert data.covariates["prompt"].tolist() == ["x", "y"]


def test_a_conversation_without_a_question_is_left_out() -> None:
    frame = pd.DataFrame({"m": [[WHY, answer("a")], [answer("b")], [RAIN, answer("c")]], "o": [1, 2, 3]})
    with pytest.warns(DroppedRowsWarning, match="1 with no prompt"):
        data = DirectOutcomeDataset.from_frame(frame, text="m", outcome="o")
    assert data.texts == ["a", "c"]


BAD = [
    ([WHY], "column 'm', row 2: its last message is the user's, and the text is the assistant's last"),
    ([], "row 2: it has no message"),
    (["Why?", answer("a")], "row 2, message 1: is no message, with role and content, but 'Why?'"),
    ([{"content": "Why?"}, answer("a")], "row 2, message 1: has no role"),
    ([{"role": "user", "content": 3}, answer("a")], "row 2, message 1: its content must be text, not 3"),
    ([{"role": "user"}, answer("a")], "row 2, message 1: its content must be text, not None"),
    ([{"role": "user", "content": [{"image": "x"}]}, answer("a")], "has parts that are no text"),
    ([{"from": "bot", "value": "a"}], "message 1: 'from' is 'bot'; it must be one of human, gpt, system"),
    ([WHY, {**answer("a"), "tool_calls": [1]}], "row 2: the text has tool_calls beside its content"),
]


@pytest.mark.parametrize(("cell", "message"), BAD)
def test_bad_messages_are_one_line(cell: Any, message: str) -> None:
    frame = pd.DataFrame({"m": [[WHY, answer("a")], cell], "o": [1, 2]})
    with pytest.raises(DataError) as caught:
        DirectOutcomeDataset.from_frame(frame, text="m", outcome="o", source="log.jsonl")
    assert message in str(caught.value)
    assert str(caught.value).startswith("log.jsonl: ")
    assert "\n" not in str(caught.value)


def test_bad_tools() -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "prompt": ["c", "d"], "outcome": [1, 2], "t": ["x", None]})
    with pytest.raises(DataError, match="column 't', row 1: tools are a list of JSON schemas, not 'x'"):
        DirectOutcomeDataset.from_frame(frame, prompt="prompt", tools="t")
    with pytest.raises(DataError, match="there is no column 'u' for tools"):
        DirectOutcomeDataset.from_frame(frame, prompt="prompt", tools="u")
    frame["t"] = [[{}], None]
    with pytest.raises(ConfigError, match=r"data\.tools needs prompts"):
        DirectOutcomeDataset.from_frame(frame, tools="t")


def test_prompts_are_embedded_as_people_read_them() -> None:
    embedder = TfidfSvdEmbedder(dimensions=3).fit([*map(readable, PROMPTS), *TEXTS])
    np.testing.assert_array_equal(
        embed(embedder, PROMPTS, TEXTS), embed(embedder, [readable(prompt) for prompt in PROMPTS], TEXTS)
    )
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "prompt": [write_prompt([SYSTEM, {"role": "user", "content": f"word{i % 20}"}]) for i in range(60)],
            "text": [f"word{i % 7} and word{i % 5}" for i in range(60)],
            "outcome": [i % 7 + i % 20 + 0.1 * rng.normal() for i in range(60)],
        }
    )
    plain = frame.assign(prompt=[readable(prompt) for prompt in frame["prompt"]])
    one, other = (
        PseudoOutcomeEstimator(embedder={"name": "tfidf-svd", "dimensions": 4}, outcome_model="ridge", folds=2)
        .fit_transform(DirectOutcomeDataset.from_frame(table, prompt="prompt"))
        .g
        for table in (frame, plain)
    )
    assert one.std() > 0.1
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_prompts_of_a_table_are_conversations_or_strings() -> None:

    assert as_prompts([ASKED[0], "Why?", None], "t") == [PROMPTS[0], "Why?", None]
    with pytest.raises(DataError, match="t, row 1, message 1: has no role"):
        as_prompts([[{"content": "Why?"}]], "t")
