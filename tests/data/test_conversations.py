"""Tables with a row for each turn: a conversation is one reading of the assistant's last turn."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset
from causalopt.cli.main import main
from causalopt.data.conversations import SENTENCE
from causalopt.errors import CausalOptWarning, ConfigError, DataError, DroppedRowsWarning
from causalopt.messages import read_prompt
from causalopt.report.text import assumptions
from causalopt.run.config import parse_config
from causalopt.run.plan import prepare

TURNS = [
    ("a", "system", "Be kind.", 1, None, "ann"),
    ("a", "user", "Why?", 2, None, "ann"),
    ("a", "assistant", "So.", 3, None, "ann"),
    ("a", "user", "And?", 4, None, "ann"),
    ("a", "assistant", "None", 5, None, "ann"),
    ("a", "user", "Thanks!", 6, 5, "ann"),
    ("b", "Human", "Who?", 7, 2.0, "bob"),
    ("b", "GPT", "Me.", 8, "2", "bob"),
    ("c", "user", "Who?", 9, None, "ann"),
    ("c", "assistant", "You.", 10, 3, None),
]
COLUMNS = ["id", "role", "said", "at", "rating", "who"]
ROLES = {"text": "said", "outcome": "rating", "conversation": "id", "reader": "who"}


def table(turns=TURNS) -> pd.DataFrame:
    return pd.DataFrame(turns, columns=COLUMNS)


def read(frame=None, **roles) -> DirectOutcomeDataset:
    return DirectOutcomeDataset.from_frame(table() if frame is None else frame, **{**ROLES, **roles})


def test_the_last_turn_of_the_assistant_is_the_text_and_all_before_it_the_prompt() -> None:
    data = read()
    assert data.texts == ["None", "Me.", "You."]
    assert data.prompts is not None
    asked = [read_prompt(prompt) for prompt in data.prompts]
    assert [one["content"] for one in asked[0].messages] == ["Be kind.", "Why?", "So.", "And?"]
    assert asked[1].messages == [{"role": "user", "content": "Who?"}]
    np.testing.assert_array_equal(data.outcome, [5.0, 2.0, 3.0])
    # A reader's conversations have one code, also where the text's row does not name the reader.
    np.testing.assert_array_equal(data.reader, [0, 1, 0])
    assert data.units()[-1] == "readers"
    assert data.source == "frame, by conversation"


def test_it_is_the_data_set_of_the_same_conversations_as_lists_of_messages() -> None:
    rows = [
        {"said": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"},
                  {"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"},
                  {"role": "assistant", "content": "None"}], "rating": 5, "who": "ann"},
        {"said": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}],
         "rating": 2, "who": "bob"},
        {"said": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "You."}],
         "rating": 3, "who": "ann"},
    ]  # fmt: skip
    lists = DirectOutcomeDataset.from_frame(pd.DataFrame(rows), text="said", outcome="rating", reader="who")
    assert lists.fingerprint() == read().fingerprint()


def test_turns_are_ordered_by_time_whatever_the_order_of_the_rows() -> None:
    shuffled = table().sample(frac=1, random_state=3)
    found = read(shuffled, time="at")
    order = [found.texts.index(text) for text in ("None", "Me.", "You.")]
    assert [found.prompts[i] for i in order] == read().prompts
    np.testing.assert_array_equal(found.time[order], [5.0, 8.0, 10.0])  # when the text was written
    dates = shuffled.assign(at=pd.to_datetime(shuffled["at"], unit="D").dt.strftime("%Y-%m-%d"))
    assert read(dates, time="at").prompts == found.prompts
    # Turns of one second are in the order of their rows, as long as these are in order.
    assert read(table().assign(at=table()["at"] // 3), time="at").prompts == read().prompts


def test_a_prompt_column_and_a_file_of_turns(tmp_path) -> None:
    table().assign(place="shop").to_csv(tmp_path / "turns.csv", index=False)
    data = DirectOutcomeDataset.from_csv(tmp_path / "turns.csv", prompt="place", **ROLES)
    assert read_prompt(data.prompts[1]).messages[0] == {"role": "user", "content": "shop"}
    assert data.texts == ["None", "Me.", "You."]


def with_cell(row, column, value) -> pd.DataFrame:
    frame = table().astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "roles", "line"),
    [
        (with_cell(4, "rating", 1), {}, "conversation 'a': column 'rating' is 1 in row 5 and 5 in row 6; keep one"),
        (with_cell(1, "role", "narrator"), {}, "column 'role', row 2 is 'narrator': who speaks is user, assistant"),
        (with_cell(1, "said", " "), {}, "column 'said', row 2 is empty"),
        (with_cell(1, "id", None), {}, "column 'id', row 2 is empty"),
        (with_cell(1, "at", None), {"time": "at"}, "column 'at', row 2 is empty: every turn needs its time"),
        (with_cell(1, "at", "soon"), {"time": "at"}, "column 'at', row .* must be a number, or a date"),
        (with_cell(0, "at", 3), {"time": "at"}, "conversation 'a' has two turns of the same time"),
        (table().iloc[[0, 1, 6, 7, 2, 4, 8, 9]], {}, "conversation 'a' goes on in row 5, after rows of others"),
        (table(), {"conversation": "idd"}, "there is no column 'idd' for conversation .did you mean 'id'"),
        (table(), {"role": "speaker"}, "there is no column 'speaker' for role"),
        (table(), {"conversation": "said"}, "column 'said' cannot be conversation and text"),
        (table(), {"outcome": "score"}, "there is no column 'score' for outcome"),
        (with_cell(9, "who", None).assign(who=[None] * 8 + ["x", None]).pipe(
            lambda f: pd.concat([f, pd.DataFrame([("c", "user", "Hm", 11, None, "y")], columns=COLUMNS)])
        ), {}, "conversation 'c': column 'who' is 'x' in row 9 and 'y' in row 11; keep one"),
        (table([]), {}, "has no rows"),
    ],
)  # fmt: skip
def test_turns_that_cannot_be_read_are_one_line(frame, roles, line) -> None:
    with pytest.raises(DataError, match=line) as error:
        read(frame, **roles)
    assert "\n" not in str(error.value)


def test_conversations_without_a_turn_of_the_assistant_or_an_outcome_are_left_out() -> None:
    silent = [
        ("d", "user", "Hello?", 11, 4, "bob"),
        ("e", "user", "Who?", 12, "NA", "bob"),
        ("e", "ai", "I.", 13, None, "bob"),
    ]
    frame = table(TURNS + silent)
    with (
        pytest.warns(CausalOptWarning, match=r"in 1 of 5 conversations .the first is 'd'. the assistant has no turn"),
        pytest.warns(DroppedRowsWarning, match="2 of 5 rows left out: 1 with no text, 1 with no outcome"),
    ):
        data = read(frame)
    assert data.texts == ["None", "Me.", "You."]
    with pytest.warns(CausalOptWarning), pytest.raises(DataError, match="by conversation: row 4 has no text"):
        read(frame, on_missing="error")
    with pytest.warns(CausalOptWarning):
        assert read(frame, on_missing="model").rated.tolist() == [True, True, True, False]


@pytest.mark.parametrize("credit", ["per-turn", "turns"])
def test_credit_per_turn_is_refused_and_says_why(credit, tmp_path) -> None:
    with pytest.raises(ConfigError, match=f"credit: {credit} is not supported: .* were not drawn from the policy"):
        read(credit=credit)
    with pytest.raises(ConfigError, match=f"data.credit: credit: {credit} is not supported"):
        parse_config({"data": {"path": "x.csv", "conversation": "id", "credit": credit}})


def test_raters_in_columns_and_turns_in_rows_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="conversation and wide exclude each other"):
        read(wide={"raters": ["rating"]})


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_a_configuration_reads_turns_and_says_what_that_assumes(tmp_path, monkeypatch, capsys) -> None:
    rng = np.random.default_rng(0)
    turns = [
        turn
        for i in range(60)
        for turn in (
            (i, "user", f"question {i % 7}", None),
            (i, "assistant", f"first {i % 5}", None),
            (i, "user", "go on", None),
            (i, "assistant", f"answer {i % 11}", float(rng.normal())),
        )
    ]
    pd.DataFrame(turns, columns=["id", "speaker", "text", "outcome"]).to_csv(tmp_path / "t.csv", index=False)
    raw = {"data": {"path": str(tmp_path / "t.csv"), "conversation": "id", "role": "speaker"}, "backend": "finite"}
    plan = prepare(parse_config(raw))
    assert len(plan.train) + len(plan.test) + (0 if plan.apart is None else len(plan.apart)) == 60
    assert set(plan.test.texts) <= {f"answer {i}" for i in range(11)}
    assert ("Conversations", SENTENCE) in assumptions({"conversations": SENTENCE})
    (tmp_path / "c.yaml").write_text(json.dumps(raw))
    monkeypatch.setattr(sys, "argv", ["causalopt", "check", str(tmp_path / "c.yaml")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "A conversation is one reading: its text is the assistant's last turn" in said
