"""The file of answers: what was added is there, whatever the crash, and what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from full_disk import largest_file

from causalopt.errors import DataError, ModelError, OutputError
from causalopt.judges.answers import Answer, AnswerFile, Asked
from causalopt.judges.asking import ask
from causalopt.judges.contracts import Pair, Preference
from causalopt.judges.questions import Question

QUESTION = Question("outcome", "Which text?")
PAIRS = [Pair("c", "one", "two"), Pair("c", "same", "same"), Pair(None, "three", "four")]
ODD = 'a\nline\u2028 break, \ud800 half a character, and "quotes"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_what_was_added_is_read_again(path: Path) -> None:
    kept = AnswerFile(path, 3)
    kept.add(Asked("outcome", 0, "AB"), Answer(0.1 + 0.2, ODD))
    kept.add(Asked("outcome", 2, "BA"), Answer(None, ""))
    again = AnswerFile(path, 3)
    assert again.answers == kept.answers
    assert again.answers[Asked("outcome", 0, "AB")] == Answer(0.1 + 0.2, ODD)


def test_a_line_that_a_crash_left_unfinished_is_asked_again(path: Path) -> None:
    kept = AnswerFile(path, 3)
    for pair in range(3):
        kept.add(Asked("outcome", pair, "AB"), Answer(1.0, "A"))
    content = path.read_bytes()
    for cut in range(1, len(content) - content[:-1].rfind(b"\n")):
        path.write_bytes(content[:-cut])
        assert len(AnswerFile(path, 3).answers) == 2
        AnswerFile(path, 3).add(Asked("outcome", 2, "AB"), Answer(1.0, "A"))
        assert path.read_bytes() == content


@pytest.mark.parametrize(("change", "said"), [
    ({"pair": 3}, "there is no pair 3"), ({"pair": -1}, "no pair -1"), ({"pair": True}, "no pair True"),
    ({"order": "AA"}, "of the wrong kind"), ({"first": 1.5}, "from 0 to 1"), ({"first": "A"}, "from 0 to 1"),
    ({"answer": None}, "of the wrong kind"), ({"question": ["x"]}, "of the wrong kind"),
])  # fmt: skip
def test_a_damaged_line_is_named(path: Path, change: dict[str, object], said: str) -> None:
    AnswerFile(path, 3).add(Asked("outcome", 0, "AB"), Answer(1.0, "A"))
    line = json.loads(path.read_text())
    path.write_text(path.read_text() + json.dumps({**line, "order": "BA", **change}) + "\n")
    with pytest.raises(DataError, match=rf"answers\.jsonl: line 2 is not an answer .*{said}"):
        AnswerFile(path, 3)


def test_two_answers_to_one_question_are_refused(path: Path) -> None:
    AnswerFile(path, 3).add(Asked("outcome", 0, "AB"), Answer(1.0, "A"))
    path.write_text(path.read_text() * 2)
    with pytest.raises(DataError, match=r"line 2: .* was answered before"):
        AnswerFile(path, 3)


def test_a_full_disk_is_one_line_and_loses_nothing_before(path: Path) -> None:
    kept = AnswerFile(path, 3)
    kept.add(Asked("outcome", 0, "AB"), Answer(1.0, "A"))
    size = path.stat().st_size
    with largest_file(size + 20), pytest.raises(OutputError, match=r"answers\.jsonl: cannot be written"):
        kept.add(Asked("outcome", 0, "BA"), Answer(0.0, "B"))
    assert AnswerFile(path, 3).answers == {Asked("outcome", 0, "AB"): Answer(1.0, "A")}
    assert path.stat().st_size == size


class Scripted:
    """Prefers the first text, and says which pairs it was asked about."""

    questions, identity = ("outcome",), {}

    def __init__(self, dies_after: int | None = None, **changes: object) -> None:
        self.asked: list[Pair] = []
        self.dies_after, self.changes = dies_after, changes

    def compare(self, pairs, question):
        self.asked = list(pairs)
        for i in reversed(range(len(pairs))):
            if self.dies_after is not None and len(pairs) - 1 - i == self.dies_after:
                raise ModelError("it is down")
            yield Preference(**{"pair": i, "first": 1.0, "answer": "A", **self.changes})  # type: ignore[arg-type]


def test_both_orders_are_asked_once_and_equal_texts_never(path: Path) -> None:
    kept, judge = AnswerFile(path, 3), Scripted(dies_after=3)
    with pytest.raises(ModelError, match="it is down"):
        ask(judge, PAIRS, QUESTION, kept)
    orders = [("one", "two"), ("two", "one"), ("three", "four"), ("four", "three")]
    assert [pair[1:] for pair in judge.asked] == orders
    assert [pair.prompt for pair in judge.asked] == ["c", "c", None, None]
    assert len(AnswerFile(path, 3).answers) == 3
    ask(judge := Scripted(), PAIRS, QUESTION, AnswerFile(path, 3))
    assert judge.asked == [Pair("c", "one", "two")]
    ask(judge := Scripted(), PAIRS, QUESTION, AnswerFile(path, 3))
    assert judge.asked == []


@pytest.mark.parametrize(("changes", "said"), [
    ({"pair": 9}, "about pair 9 of 4"), ({"pair": 0}, "answers twice about pair 0"), ({"pair": "0"}, "about pair '0'"),
    ({"first": 2}, "prefers with 2"), ({"first": float("nan")}, "prefers with nan"), ({"answer": None}, "answers None"),
])  # fmt: skip
def test_a_judge_that_breaks_its_contract_is_named(path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ask(Scripted(**changes), PAIRS, QUESTION, AnswerFile(path, 3))


def test_a_judge_that_leaves_pairs_out_is_named(path: Path) -> None:
    class Lazy(Scripted):
        def compare(self, pairs, question):
            yield Preference(0, 1.0, "A")

    with pytest.raises(ModelError, match="has not answered about 3 of 4 pairs"):
        ask(Lazy(), PAIRS, QUESTION, AnswerFile(path, 3))
