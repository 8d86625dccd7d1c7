"""A tokenizer's chat template: prompts as it writes them before an answer, and the token with which a turn ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jinja2
from transformers import PreTrainedTokenizerBase

from causalopt.errors import ModelError, one_line
from causalopt.messages import Conversation, Message, as_conversation, write_prompt

_QUESTION, _ANSWER, _SYSTEM = "Q6f1e", "A6f1e", "S6f1e"
"""What stands for a question, an answer and a system prompt where the template itself is looked at."""


class Written(NamedTuple):
    """A string, and the control tokens that are only characters in it.

    Attributes
    ----------
    text:
        Each control token that a user wrote has been replaced by as many characters that occur nowhere else.
    hidden:
        Each such replacement, and the control token that it stands for.
    """

    text: str
    hidden: Mapping[str, str] = {}


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes
    ----------
    tokenizer:
        With a chat template.
    system_prompt:
        System message of the conversations that have none of their own; None leaves them as they are, and the template
        may then insert one of its own, see `own_system_prompt`.
    arguments:
        What the template takes besides messages and tools, such as ``enable_thinking``.

    Raises
    ------
    ModelError
        By each method, if the template fails: it may refuse a role, or the order of the messages.
    """

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def write(self, prompt: str) -> Written:
        """Return what stands before the answer to a prompt, with the beginning of the assistant's turn.

        If the last message of the conversation is an assistant's, it is the beginning of the answer.
        """
        one_string = write_prompt(*as_conversation(prompt))
        hidden = _replacements(one_string, self.controls)
        for replacement, control in hidden.items():
            one_string = one_string.replace(control, replacement)
        messages, tools = as_conversation(one_string)
        return Written(self._apply(Conversation(self._with_system(messages), tools)), hidden)

    def cut(self, text: str) -> list[str]:
        """Divide a string into what its control tokens separate, and these tokens with the spaces they belong with."""
        return [part for part in self._controls_pattern.split(text) if part]

    @cached_property
    def controls(self) -> dict[str, int]:
        """The control tokens, as `control_tokens` returns them."""
        return control_tokens(self.tokenizer)

    @cached_property
    def _controls_pattern(self) -> re.Pattern[str]:
        strips = {str(token): (token.lstrip, token.rstrip) for token in self.tokenizer.added_tokens_decoder.values()}
        patterns = []
        for token in self.controls:
            left, right = (r"\s*" if strip else "" for strip in strips.get(token, (False, False)))
            patterns.append(left + re.escape(token) + right)
        return re.compile(f"({'|'.join(patterns)})")

    @cached_property
    def end(self) -> int:
        """Id of the token that the template writes after an assistant's text; the tokenizer's end if it writes none."""
        found = first_token(self._whole.rpartition(_ANSWER)[2], self.tokenizer)
        if found is None:
            found = self.tokenizer.eos_token_id
        if found is None:
            raise ModelError("neither the chat template nor the tokenizer has a token that ends a text")
        return int(found)

    @cached_property
    def own_system_prompt(self) -> str | None:
        """The system prompt that the template inserts by itself into a conversation that has none; None if it does not.

        A template that takes no system message inserts none.
        """
        question: Message = {"role": "user", "content": _QUESTION}
        try:
            given = self._apply(Conversation([{"role": "system", "content": _SYSTEM}, question]))
        except ModelError:
            return None
        plain = self._apply(Conversation([question]))
        before, found, after = given.partition(_SYSTEM)
        if not found or not plain.startswith(before) or not plain.endswith(after):
            return None
        return plain[len(before) : len(plain) - len(after)].strip() or None

    @cached_property
    def opening_differs(self) -> tuple[str, str] | None:
        """What precedes an answer in a whole conversation, and for generation, after the question; None if the same.

        A template for models that think writes an empty thought in the former.
        """
        question: Message = {"role": "user", "content": _QUESTION}
        whole = self._whole.partition(_ANSWER)[0].partition(_QUESTION)[2]
        asked = self._apply(Conversation(self._with_system([question]))).partition(_QUESTION)[2]
        return None if whole == asked else (whole, asked)

    @cached_property
    def _whole(self) -> str:
        answered = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
        written = self._call(Conversation(self._with_system(answered)), {})
        if _ANSWER not in written:
            raise ModelError("the tokenizer's chat template does not write what an assistant says")
        return written

    def _with_system(self, messages: list[Message]) -> list[Message]:
        if self.system_prompt is None or messages[0]["role"] == "system":
            return messages
        return [{"role": "system", "content": self.system_prompt}, *messages]

    def _apply(self, conversation: Conversation) -> str:
        begun = conversation.messages[-1]["role"] == "assistant"
        return self._call(conversation, {"continue_final_message": True} if begun else {"add_generation_prompt": True})

    def _call(self, conversation: Conversation, how: dict[str, Any]) -> str:
        messages, tools = conversation
        try:
            written = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, **{**self.arguments, **how}
            )
        except (jinja2.TemplateError, ValueError, TypeError) as error:  # it runs in a sandbox, and may refuse a message
            raise ModelError(f"the tokenizer's chat template fails: {one_line(error)}") from error
        return str(written)


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the special tokens of a tokenizer with their ids, longer ones first.

    Tokens that were added as ordinary ones, such as those around a thought, are text.
    """
    found = {str(token): i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    found |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def first_token(text: str, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the id of the first added token, special or not, in a string; None if there is none."""
    added = control_tokens(tokenizer) | {str(token): i for i, token in tokenizer.added_tokens_decoder.items()}
    there = [(text.find(token), -len(token), i) for token, i in added.items() if token in text]
    return min(there)[2] if there else None


def _replacements(text: str, controls: Mapping[str, int]) -> dict[str, str]:
    """Return a replacement of equal length for each control token in a string: a private-use character, repeated."""
    free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)
    return {next(free) * len(token): token for token in controls if token in text}
