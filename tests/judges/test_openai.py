"""The judge behind an HTTP server, against a real one in this process that also misbehaves."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from judge_server import KEY, JudgeServer, completion, reply, serving

from causalopt import plugins
from causalopt.errors import ConfigError, ModelError
from causalopt.judges.contracts import Pair, Preference
from causalopt.judges.openai_compatible import OpenAIJudge
from causalopt.judges.questions import Question
from causalopt.testing import check_judge

QUESTION = Question("outcome", "Which text?")
PAIRS = [Pair("c", "x" * (i + 2), "y" * (i + 1 + 2 * (i % 2))) for i in range(12)]
"""The longer text, which the server prefers, is the first one in every other pair."""


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(JudgeServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def judge(server: JudgeServer, **settings: Any) -> OpenAIJudge:
    made: OpenAIJudge = plugins.judges.create({"name": "openai", "base_url": server.url, "model": "m", **settings})
    return made


def compared(judge: OpenAIJudge, pairs: list[Pair] = PAIRS) -> list[Preference]:
    return sorted(judge.compare(pairs, QUESTION), key=lambda one: one.pair)


def until_it_fails(judge: OpenAIJudge, pairs: list[Pair] = PAIRS) -> tuple[list[Preference], str]:
    """What is yielded before the error, and the error."""
    found: list[Preference] = []

    def keep() -> None:
        for one in judge.compare(pairs, QUESTION):
            found.append(one)

    with pytest.raises(ModelError) as caught:
        keep()
    return found, str(caught.value)


def test_it_asks_what_it_should_and_reads_the_answer(server: JudgeServer) -> None:
    found = compared(judge(server, max_tokens=5, options={"top_p": 0.5}))
    assert [one.first for one in found] == [1.0, 0.0] * 6
    assert {one.answer for one in found} == {"A", "B"}
    assert set(server.received.values()) == {1}
    for _, headers, asked in server.requests:
        assert headers["authorization"] == f"Bearer {KEY}"
        assert {name: asked[name] for name in asked if name != "messages"} == {
            "model": "m", "temperature": 0.0, "max_tokens": 5, "top_p": 0.5,
        }  # fmt: skip
    assert sorted(asked["messages"][0]["content"] for _, _, asked in server.requests) == sorted(
        QUESTION.write(*pair) for pair in PAIRS
    )
    compared(judge(server, temperature=None), PAIRS[:1])
    assert "temperature" not in server.requests[-1][2]


def test_it_keeps_the_contract_of_judges(server: JudgeServer) -> None:
    check_judge(lambda: judge(server))
    assert KEY not in json.dumps(judge(server).identity)


def test_a_server_that_is_busy_is_asked_again_when_it_says(server: JudgeServer) -> None:
    """429 twice with Retry-After of one second: the third request comes two seconds later or more, and counts."""

    def busy(handler: Any, shown: Any) -> bool:
        if server.received[shown] > 2:
            return False
        reply(handler, 429, b'{"error": {"message": "slow down"}}', Retry_After="1")
        return True

    server.before = busy
    found = compared(judge(server), PAIRS[:1])
    times = [when for when, _, _ in server.requests]
    assert found == [Preference(0, 1.0, "A")]
    assert len(times) == 3
    assert min(b - a for a, b in itertools.pairwise(times)) >= 1.0


def test_what_goes_on_failing_is_one_line_and_what_was_answered_is_kept(server: JudgeServer) -> None:
    failing = PAIRS[5][1:]

    def broken(handler: Any, shown: Any) -> bool:
        if shown != failing:
            return False
        reply(handler, 500, b"<html>no</html>")
        return True

    server.before = broken
    found, said = until_it_fails(judge(server, max_retries=1, at_once=1))
    assert [one.pair for one in found][:5] == [0, 1, 2, 3, 4]
    assert len(found) == sum(server.answered.values()) <= 6  # the next one may have begun
    assert "judge openai" in said
    assert "500" in said
    assert server.received[failing] == 2
    # What is in flight beside the one that fails is answered and kept, too: it fails when all have arrived.
    all_here, failed = threading.Barrier(len(PAIRS), timeout=60), threading.Event()

    def broken_once_all_are_here(handler: Any, shown: Any) -> bool:
        all_here.wait()
        if broken(handler, shown):
            failed.set()
            return True
        assert failed.wait(timeout=60)
        return False

    server.before = broken_once_all_are_here
    server.received.clear()
    found, _ = until_it_fails(judge(server, max_retries=0, at_once=12))
    assert [one.pair for one in sorted(found, key=lambda one: one.pair)] == [i for i in range(12) if i != 5]


@pytest.mark.parametrize(("status", "body", "said"), [
    (400, b'{"error": {"message": "the context is too long"}}', "400 Bad Request (the context is too long)"),
    (401, b'{"error": {"message": "Incorrect API key: KEY"}}', "401 Unauthorized (Incorrect API key: [key]); the key"),
    (404, b'{"error": {"message": "no model m"}}', "404 Not Found (no model m)"),
    (404, b"<html>", "404 Not Found"),
    (200, b"<html>", "is not a chat completion"),
    (200, b"", "is not a chat completion"),
    (200, b"[1, 2]", "is not a chat completion"),
    (200, b'{"choices": []}', "is not a chat completion"),
    (200, b'{"choices": [{"message": null}]}', "is not a chat completion"),
    (200, b'{"error": "KEY"}', "is not a chat completion"),
    (200, completion([{"type": "text"}]), "is not a chat completion"),  # type: ignore[arg-type]
])  # fmt: skip
def test_a_reply_that_is_none_is_one_line(server: JudgeServer, status: int, body: bytes, said: str) -> None:
    def odd(handler: Any, shown: Any) -> bool:
        reply(handler, status, body.replace(b"KEY", KEY.encode()))
        return True

    server.before = odd
    found, message = until_it_fails(judge(server, max_retries=0), PAIRS[:2])
    assert found == []
    assert said in message
    assert KEY not in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("text", [None, "", "I cannot say.", f"My key is {KEY}", "A and B"])
def test_an_answer_that_states_nothing_is_kept_as_it_is_but_for_the_key(server: JudgeServer, text: str | None) -> None:
    def vague(handler: Any, shown: Any) -> bool:
        reply(handler, 200, completion(text))
        return True

    server.before = vague
    found = compared(judge(server), PAIRS[:3])
    assert [one.first for one in found] == [None] * 3
    assert {one.answer for one in found} == {(text or "").replace(KEY, "[key]")}


def test_a_server_that_does_not_answer_in_time(server: JudgeServer) -> None:
    server.before = lambda handler, shown: time.sleep(1.0) or True
    started = time.monotonic()
    found, said = until_it_fails(judge(server, timeout=0.2, max_retries=1), PAIRS[:1])
    assert found == []
    assert "no answer within 0.2 s in 2 tries; raise judge.timeout" in said
    assert time.monotonic() - started < 10


def test_an_interruption_does_not_wait_for_retries(server: JudgeServer) -> None:
    """One answer, and a server that answers nothing more: six tries of half a second would take more than ten."""

    def hold(handler: Any, shown: Any) -> bool:
        if shown != PAIRS[0][1:]:
            time.sleep(3)
        return shown != PAIRS[0][1:]

    server.before = hold
    answers = judge(server, timeout=0.5).compare(PAIRS[:3], QUESTION)
    assert next(answers).pair == 0
    started = time.monotonic()
    answers.close()
    assert time.monotonic() - started < 3


def test_nobody_listens() -> None:
    with serving(JudgeServer()) as gone:
        pass
    found, said = until_it_fails(judge(gone, max_retries=0), PAIRS[:2])
    assert found == []
    assert "no server answers" in said
    assert "check judge.base_url" in said
    assert KEY not in said


def test_the_key_is_in_no_log(
    server: JudgeServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        compared(judge(server), PAIRS[:2])
    assert KEY not in caplog.text
    out, err = capfd.readouterr()
    assert KEY not in out + err


@pytest.mark.parametrize(("settings", "said"), [
    ({"model": " "}, "judge.model is empty"),
    ({"timeout": 0}, "judge.timeout must be a number above 0"),
    ({"max_retries": -1}, "judge.max_retries must be a whole number of at least 0"),
    ({"at_once": 0}, "judge.at_once must be a whole number of at least 1"),
    ({"temperature": -0.1}, "judge.temperature must be"),
    ({"max_tokens": 0}, "judge.max_tokens must be"),
    ({"base_url": "localhost:8000/v1"}, "judge.base_url must look like http://"),
    ({"base_url": f"http://me:{KEY}@localhost/v1"}, "judge.base_url holds a user, a password or a query"),
    ({"base_url": f"http://localhost/v1?key={KEY}"}, "judge.base_url holds a user, a password or a query"),
    ({"api_key": KEY}, "has no setting 'api_key'"),
])  # fmt: skip
def test_settings_that_cannot_be(server: JudgeServer, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        judge(server, **settings)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_comes_from_the_environment_alone(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in (f"{KEY}\nX: y", "sk-ключ"):
        monkeypatch.setenv("OPENAI_API_KEY", bad)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY holds characters") as caught:
            judge(server)
        assert KEY not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="needs a key in the environment variable OPENAI_API_KEY"):
        OpenAIJudge("m")
    assert compared(judge(server), PAIRS[:1])[0].first == 1.0  # a server of one's own needs none
