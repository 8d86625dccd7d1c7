"""Columns of messages, as chat logs have them: the last assistant's turn is the text, all before it the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalopt.errors import DataError
from causalopt.messages import Message, write_prompt
from causalopt.signatures import shown

_SHAREGPT = {"human": "user", "gpt": "assistant", "system": "system"}


def split_messages(
    frame: pd.DataFrame, text: str, prompt: str | None, source: str, tools: str | None = None
) -> tuple[pd.DataFrame, str | None]:
    """Turn columns of messages into strings; a frame without messages is returned as it is.

    Parameters
    ----------
    frame:
        A cell may be a list of messages in place of a string: ``{"role": ..., "content": ...}``, as of `trl` and
        `datasets`, or ``{"from": ..., "value": ...}``, as of ShareGPT.
    text:
        Column of strings, or of conversations, whose last message is the assistant's: the text.
    prompt:
        Column of strings or conversations, to which the messages before the text are appended; or None.
    source:
        Name of the table in messages of errors.
    tools:
        Column of lists of tools, which become part of the prompt as they are; or None.

    Returns
    -------
    frame, prompt:
        The frame with strings in its columns, and the name of the column of prompts: a new one if there was none and
        some conversation has messages before its text. Prompts are as `causalopt.messages.write_prompt` writes them.

    Raises
    ------
    DataError
        With source, column and row, if a cell is no conversation, or has no text at its end, or a text calls tools.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.messages import split_messages
    >>> turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    >>> frame, prompt = split_messages(pd.DataFrame({"messages": [turns]}), "messages", None, "log.jsonl")
    >>> frame["messages"][0], prompt, frame[prompt][0]
    ('So.', 'prompt', '{"messages":[{"role":"user","content":"Why?"}]}')
    """
    columns = [text] if prompt is None else [text, prompt]
    if not set(columns) <= set(frame.columns):
        return frame, prompt  # the caller says which column is missing
    if tools is None and not any(_is_list(cell) for column in columns for cell in frame[column]):
        return frame, prompt
    nothing = [None] * len(frame)
    cells = [nothing if column is None else frame[column].tolist() for column in (text, prompt, tools)]
    texts, prompts = [], []
    for row, (answer, asked, offered) in enumerate(zip(*cells, strict=True), start=1):
        said, before = _text(answer, f"{source}: column {text!r}, row {row}")
        asked, before = _prompt(asked, before, f"{source}: column {prompt!r}, row {row}")
        given = _tools(offered, f"{source}: column {tools!r}, row {row}")
        if given and not before and isinstance(asked, str):
            before = [{"role": "user", "content": asked}]
        texts.append(said)
        prompts.append(write_prompt(before, given) if before else asked)
    changed = frame.assign(**{text: pd.Series(texts, index=frame.index, dtype=object)})
    if prompt is None and any(one is not None for one in prompts):
        prompt = "prompt" if "prompt" not in frame else f"prompt of {text}"
    if prompt is not None:
        changed[prompt] = pd.Series(prompts, index=frame.index, dtype=object)
    return changed, prompt


def as_prompts(cells: Sequence[Any], where: str) -> list[Any]:
    """Return prompts as strings: a cell that is a list of messages as `causalopt.messages.write_prompt` writes it.

    Examples
    --------
    >>> from causalopt.data.messages import as_prompts
    >>> as_prompts(["Why?", [{"role": "user", "content": "Who?"}]], "prompts.jsonl")
    ['Why?', '{"messages":[{"role":"user","content":"Who?"}]}']
    """
    return [
        write_prompt(_messages(cell, f"{where}, row {row}")) if _is_list(cell) else cell
        for row, cell in enumerate(cells, start=1)
    ]


def is_conversation(cell: Any) -> bool:
    """Whether a cell is a list of messages.

    Examples
    --------
    >>> from causalopt.data.messages import is_conversation
    >>> is_conversation([{"role": "user", "content": "Why?"}]), is_conversation(["a", "b"]), is_conversation("Why?")
    (True, False, False)
    """
    return (
        _is_list(cell)
        and len(cell) > 0
        and all(isinstance(one, dict) and {"role", "from"} & one.keys() for one in cell)
    )


def _text(cell: Any, where: str) -> tuple[Any, list[Message]]:
    """Return the text of a cell, and the messages before it."""
    if not _is_list(cell):
        return cell, []
    messages = _messages(cell, where)
    if not messages or messages[-1]["role"] != "assistant":
        last = f"its last message is the {messages[-1]['role']}'s" if messages else "it has no message"
        raise DataError(f"{where}: {last}, and the text is the assistant's last: leave the row out, or correct it")
    more = sorted(messages[-1].keys() - {"role", "content"})
    if more:
        raise DataError(
            f"{where}: the text has {', '.join(more)} beside its content, which is not scored: leave it out"
        )
    return messages[-1].get("content"), messages[:-1]


def _prompt(cell: Any, after: list[Message], where: str) -> tuple[Any, list[Message]]:
    """Return a prompt that is plain text, or no text and the whole conversation."""
    if _is_list(cell):
        return None, [*_messages(cell, where), *after]
    if after and isinstance(cell, str):
        return None, [{"role": "user", "content": cell}, *after]
    return cell, after


def _tools(cell: Any, where: str) -> list[Any] | None:
    if not _is_list(cell):
        if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
            return None
        raise DataError(f"{where}: tools are a list of JSON schemas, not {shown(cell)}")
    plain: list[Any] = _plain(cell)
    return plain


def _messages(cell: Sequence[Any], where: str) -> list[Message]:
    return [_message(one, f"{where}, message {k}") for k, one in enumerate(_plain(cell), start=1)]


def _message(one: Any, where: str) -> Message:
    if not isinstance(one, dict):
        raise DataError(f"{where}: is no message, with role and content, but {shown(one)}")
    if "from" in one and "role" not in one:
        role, content = one["from"], one.get("value")
        if role not in _SHAREGPT:
            raise DataError(f"{where}: 'from' is {shown(role)}; it must be one of {', '.join(_SHAREGPT)}")
        one = {"role": _SHAREGPT[role], "content": content}
    # A table has every key in each message; those without a value were not there.
    message = {key: value for key, value in one.items() if value is not None}
    if not isinstance(message.get("role"), str):
        raise DataError(f"{where}: has no role (system, user, assistant or tool)")
    content = message.get("content")
    if isinstance(content, list):
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise DataError(f"{where}: its content has parts that are no text; only text can be scored")
        message["content"] = "".join(part["text"] for part in content)
    elif not isinstance(content, str) and not (content is None and len(message) > 1):
        raise DataError(f"{where}: its content must be text, not {shown(content)}")
    return message


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | np.ndarray)


def _plain(cell: Any) -> Any:
    """Return lists where Arrow gives arrays, and leave out what it fills in: keys that other cells of a column have."""
    if isinstance(cell, np.ndarray):
        return [_without_gaps(one) for one in cell]
    return cell


def _without_gaps(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return [_without_gaps(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_gaps(one) for key, one in value.items() if one is not None}
    return value.item() if isinstance(value, np.generic) else value
