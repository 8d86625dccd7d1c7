from __future__ import annotations

import json

import pytest

from causalopt.messages import as_conversation, read_prompt, readable, write_prompt

TOOLS = [{"type": "function", "function": {"name": "rain", "parameters": {"z": None, "a": 1}}}]


def test_equal_conversations_are_equal_strings() -> None:
    one = write_prompt([{"role": "user", "content": 'Naïve "你好"\n'}], TOOLS)
    assert one == write_prompt([{"content": 'Naïve "你好"\n', "role": "user"}], TOOLS)
    assert json.loads(one) == {"messages": [{"role": "user", "content": 'Naïve "你好"\n'}], "tools": TOOLS}
    assert read_prompt(one) == ([{"role": "user", "content": 'Naïve "你好"\n'}], TOOLS)
    assert list(read_prompt(one).tools[0]["function"]["parameters"]) == ["z", "a"]  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    "prompt",
    [
        "Why?",
        "",
        '[{"role":"user","content":"a"}]',
        '{"messages":[',
        '{"messages":[]}',
        '{"messages":["a"]}',
        '{"messages":[{"content":"a"}]}',
        '{"messages":[{"role":"user","content":"a"}],"more":1}',
        '{"messages":[{"role":"user","content":"a"}],"tools":"t"}',
        '{"messages":[' * 100_000,
    ],
)
def test_other_strings_are_plain_text(prompt: str) -> None:
    assert read_prompt(prompt) is None
    assert readable(prompt) == prompt
    assert as_conversation(prompt).messages == [{"role": "user", "content": prompt}]


def test_what_people_read() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "rain"}}]}
    said = readable(
        write_prompt([{"role": "user", "content": "Rain?"}, call, {"role": "tool", "content": "no"}], TOOLS)
    )
    tools, user, assistant, tool = said.split("\n\n")
    assert tools.startswith('Tools: [{"type": "function"')
    assert (user, tool) == ("User: Rain?", "Tool: no")
    assert assistant == 'Assistant: {"tool_calls": [{"function": {"name": "rain"}}]}'
