"""Conversations as prompts: messages in one string, by which prompts are compared, grouped, saved and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Message = dict[str, Any]
_BEGINNING = '{"messages":['


class Conversation(NamedTuple):
    """Messages, each with a ``role``, most with a ``content``, and the tools that the assistant may call."""

    messages: list[Message]
    tools: list[Any] | None = None


def write_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None = None) -> str:
    """Return a conversation as a prompt: JSON in one spelling, so that equal conversations are equal strings.

    Examples
    --------
    >>> from causalopt.messages import read_prompt, write_prompt
    >>> prompt = write_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])
    >>> prompt
    '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"}]}'
    >>> read_prompt(prompt).messages[1]["content"]
    'Why?'
    """
    written: dict[str, Any] = {"messages": [{key: one[key] for key in sorted(one, key=_place)} for one in messages]}
    if tools:
        written["tools"] = list(tools)
    return json.dumps(written, ensure_ascii=False, separators=(",", ":"))


def read_prompt(prompt: str) -> Conversation | None:
    """Return the conversation that `write_prompt` wrote, or None for a prompt that is plain text."""
    if not prompt.startswith(_BEGINNING):
        return None
    try:
        found = json.loads(prompt)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found.keys() <= {"messages", "tools"}:
        return None
    messages, tools = found["messages"], found.get("tools")
    if not all(isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages):
        return None
    if not messages or not (tools is None or isinstance(tools, list)):
        return None
    return Conversation(messages, tools)


def as_conversation(prompt: str) -> Conversation:
    """Return a prompt's conversation; plain text is what a user says.

    Examples
    --------
    >>> from causalopt.messages import as_conversation
    >>> as_conversation("Why?").messages
    [{'role': 'user', 'content': 'Why?'}]
    """
    return read_prompt(prompt) or Conversation([{"role": "user", "content": prompt}])


def readable(prompt: str) -> str:
    """Return a prompt as people read it: for embedding, display and models that have no chat template.

    Examples
    --------
    >>> from causalopt.messages import readable, write_prompt
    >>> readable("Why?"), readable(write_prompt([{"role": "user", "content": "Why?"}]))
    ('Why?', 'Why?')
    >>> print(readable(write_prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}])))
    System: Be brief.
    <BLANKLINE>
    User: Why?
    """
    conversation = read_prompt(prompt)
    if conversation is None:
        return prompt
    messages, tools = conversation
    if not tools and len(messages) == 1 and messages[0].keys() == {"role", "content"} and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    turns = [f"{message['role'].capitalize()}: {_said(message)}" for message in messages]
    if tools:
        turns.insert(0, f"Tools: {json.dumps(tools, ensure_ascii=False)}")
    return "\n\n".join(turns)


def _place(key: str) -> tuple[bool, bool, str]:
    """Place of a message's key: role and content first, the others by name."""
    return key != "role", key != "content", key


def _said(message: Message) -> str:
    """Return the content of a message, and whatever else it carries as JSON (calls of tools)."""
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    content = message.get("content")
    parts = [] if content is None else [str(content)]
    return " ".join([*parts, *([json.dumps(more, ensure_ascii=False)] if more else [])])
