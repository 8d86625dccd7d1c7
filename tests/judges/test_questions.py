"""Questions as they are written, and answers as they are read: what states nothing, or two things, is never guessed."""

from __future__ import annotations

import pytest

from causalopt.errors import ConfigError
from causalopt.judges.questions import Question, outcome_criterion
from causalopt.messages import write_prompt

BINARY = Question("outcome", "Which text?")
LIKERT = Question("outcome", "Which text?", "likert")


@pytest.mark.parametrize(("answer", "first"), [
    ("A", 1.0), ("B", 0.0), (" b\n", 0.0), ("**A**", 1.0), ("(B).", 0.0), ("Answer: A", 1.0), ("Text B", 0.0),
    ('"A"', 1.0), ("<think>A? No: B. Or A.</think>\n\nB", 0.0),
    ("", None), ("A or B", None), ("AB", None), ("Neither", None), ("A B", None), ("C", None), ("4", None),
    ("A is better", None), ("Both A.", None), ("<think>A", None), ("<think>A</think>", None), ("\u0410", None),
])  # fmt: skip
def test_a_letter_is_read(answer: str, first: float | None) -> None:
    assert BINARY.read(answer) == first


@pytest.mark.parametrize(("answer", "first"), [
    ("1", 1.0), ("7", 0.0), ("4", 0.5), ("**2**.", 5 / 6), ("Answer: 6", 1 / 6),
    ("0", None), ("8", None), ("17", None), ("4.5", None), ("3-4", None), ("5/7", None), ("A", None), ("four", None),
])  # fmt: skip
def test_a_number_is_read(answer: str, first: float | None) -> None:
    assert LIKERT.read(answer) == (None if first is None else pytest.approx(first, abs=1e-15))


def test_every_option_is_read_as_its_own_preference() -> None:
    for question in (BINARY, LIKERT):
        values = [question.read(option) for option in question.options]
        assert values == [question.preference(option) for option in question.options]
        assert values[0] == 1.0
        assert values[-1] == 0.0
        assert values == sorted(values, reverse=True)  # type: ignore[type-var]


def test_the_message_holds_everything_once_and_in_order() -> None:
    prompt = write_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])
    message = LIKERT.write(prompt, "one text", "another text")
    parts = ["System: Be brief.", "User: Why?", "one text", "another text", "Which text?", "from 1 to 7"]
    assert [message.count(part) for part in parts] == [1] * len(parts)
    assert [message.index(part) for part in parts] == sorted(message.index(part) for part in parts)
    assert "prompt" not in BINARY.write(None, "one text", "another text")


def test_a_criterion_follows_the_direction() -> None:
    assert "higher 'resp'" in outcome_criterion("resp", "maximize")
    assert "lower 'churn'" in outcome_criterion("churn", "minimize")
    with pytest.raises(ConfigError, match="the criterion of the question 'outcome' is empty"):
        Question("outcome", " ")
