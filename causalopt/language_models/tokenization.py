"""Texts to tokens: ``[start, prompt, text, end]``, with the boundary between what is given and what is scored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from causalopt.errors import ConfigError, DataError, ModelError, TruncationWarning
from causalopt.language_models.chat import ChatTemplate, Written, control_tokens
from causalopt.messages import readable

OnLongText = Literal["error", "truncate"]
Tokenization = Literal["apart", "together"]


class Tokens(NamedTuple):
    """One sequence: all its ids, and the position of the first one that is scored."""

    ids: list[int]
    start: int

    @property
    def scored(self) -> int:
        """Tokens of the text with its end."""
        return len(self.ids) - self.start


@dataclass(frozen=True)
class TextCodec:
    """How a policy reads and writes texts.

    Special tokens inside a text or a prompt are read as the characters that they are.

    Attributes
    ----------
    tokenizer:
        Without a chat template it needs an end-of-sequence token, which ends a text; the start is its
        beginning-of-sequence token, or its end when it has none.
    max_length:
        Tokens of start, prompt, text and end together.
    on_long_text:
        Whether a longer text is refused ("error") or cut, without its end ("truncate"), with a warning that counts. A
        prompt that leaves no room for a text is cut on the left then, to half of the limit.
    chat_template:
        Whether prompts are written by the tokenizer's chat template, and texts end as it ends an assistant's turn. A
        prompt is a conversation (`causalopt.messages.write_prompt`) or, as plain text, a user's message. Without the
        template, a conversation is read as people read it (`causalopt.messages.readable`).
    system_prompt, chat_template_kwargs:
        As ``system_prompt`` and ``arguments`` of `causalopt.language_models.chat.ChatTemplate`.
    tokenization:
        "apart" tokenises prompt and text by themselves, as a text is generated: the boundary is where it begins.
        "together" tokenises them as one string, as servers and trainers do that read whole conversations: tokens that
        reach beyond the prompt are scored.

    Raises
    ------
    ConfigError
        If there is no chat template, or the tokenizer cannot say where its tokens end.
    ModelError
        If the tokenizer has no end.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    on_long_text: OnLongText = "error"
    chat_template: bool = False
    system_prompt: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tokenization: Tokenization = "apart"

    def __post_init__(self) -> None:
        if self.chat_template and not self.tokenizer.chat_template:
            raise ConfigError("backend.chat_template is on, but the model's tokenizer has no chat template")
        if not self.chat_template and self.tokenizer.eos_token_id is None:
            raise ModelError("the model's tokenizer has no end-of-sequence token, so a text would have no end")
        if self.tokenization == "together" and not self.tokenizer.is_fast:
            raise ConfigError("backend.tokenization: together needs a tokenizer of the library tokenizers")

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The chat template, if prompts are written by it."""
        if not self.chat_template:
            return None
        return ChatTemplate(self.tokenizer, self.system_prompt, self.chat_template_kwargs)

    @cached_property
    def end(self) -> int:
        """Id of the token that ends a text: what the chat template writes there, or the tokenizer's end."""
        return int(self.tokenizer.eos_token_id) if self.chat is None else self.chat.end

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """Ids of the tokens that no text contains."""
        return frozenset({self.end, *control_tokens(self.tokenizer).values()})

    def encode(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise whole texts with their end.

        Raises
        ------
        DataError
            When a text is empty or no string, when it is too long, or when the numbers of prompts and texts differ.
        """
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                raise DataError(f"text {i} is empty or not a string; a policy gives a probability to text alone")
        encoded = []
        cut_off = 0
        for i, (ids, start) in enumerate(self._whole(prompts, texts)):
            if len(ids) > self.max_length:
                if self.on_long_text == "error" or start >= self.max_length:
                    raise DataError(
                        f"text {i} has {len(ids)} tokens with its prompt and end, and the limit is {self.max_length}: "
                        "raise backend.max_length if the model's context allows it, or set backend.on_long_text: "
                        "truncate"
                    )
                ids = ids[: self.max_length]
                cut_off += 1
            encoded.append(Tokens(ids, start))
        if cut_off:
            warnings.warn(
                f"{cut_off} of {len(texts)} texts are longer than {self.max_length} tokens and were cut",
                TruncationWarning,
                stacklevel=3,
            )
        return encoded

    def encode_prompts(self, prompts: Sequence[str] | None, n: int) -> list[list[int]]:
        """Tokenise what stands before each of ``n`` texts: the start alone when there are no prompts."""
        if prompts is None:
            if self.chat_template:
                raise ConfigError("backend.chat_template is on, but the data have no prompt")
            return [[self._start]] * n
        if len(prompts) != n:
            raise DataError(f"there are {len(prompts)} prompts for {n} texts")
        distinct = list(dict.fromkeys(prompts))
        if self.chat is None:
            ids = [[self._start, *tokens] for tokens in self._ids([readable(prompt) for prompt in distinct])]
        else:
            ids = [self._written(self.chat, prompt).ids for prompt in distinct]
        known = dict(zip(distinct, ids, strict=True))
        return self._cut_left([known[prompt] for prompt in prompts])

    def _cut_left(self, heads: list[list[int]]) -> list[list[int]]:
        """Cut what leaves no room for a text to half of the limit: its start, and the tokens nearest to the text."""
        if self.on_long_text == "error":
            return heads
        most, cut = self.max_length // 2, [len(head) > self.max_length - 2 for head in heads]
        if any(cut):
            warnings.warn(
                f"{sum(cut)} of {len(heads)} prompts leave no room for a text within {self.max_length} tokens and were "
                f"cut on the left, to {most} tokens",
                TruncationWarning,
                stacklevel=4,
            )
        return [
            [head[0], *head[len(head) - most + 1 :]] if long else head for head, long in zip(heads, cut, strict=True)
        ]

    def fits(self, prompt: str | None, text: str) -> bool:
        """Whether a text with its end has room after its prompt; a drawn text may be tokenised otherwise."""
        ((ids, _),) = self._whole(None if prompt is None else [prompt], [text])
        return len(ids) <= self.max_length

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, with every space as it is."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    @property
    def _start(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.end if bos is None else int(bos)

    def _whole(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> list[Tokens]:
        """Tokenise prompts and texts with the end of a text, however long they are."""
        if prompts is None or self.tokenization == "apart":
            heads = self.encode_prompts(prompts, len(texts))
            bodies = self._ids(texts)
            return [Tokens([*head, *body, self.end], len(head)) for head, body in zip(heads, bodies, strict=True)]
        if len(prompts) != len(texts):
            raise DataError(f"there are {len(prompts)} prompts for {len(texts)} texts")
        return [self._joined(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]

    def _joined(self, prompt: str, text: str) -> Tokens:
        """Tokenise a prompt and its text as one string."""
        if self.chat is None:
            shown = readable(prompt)
            ids, start = self._tokenized(shown + text, len(shown), controls=False)
            return Tokens([self._start, *ids, self.end], 1 + start)
        ids, start = self._written(self.chat, prompt, text)
        return Tokens([*ids, self.end], start)

    def _written(self, chat: ChatTemplate, prompt: str, text: str = "") -> Tokens:
        """Tokenise what the template writes, and a text after it; only what the template writes has control tokens."""
        head = chat.write(prompt)
        if not head.hidden and not any(control in text for control in chat.controls):
            return self._tokenized(head.text + text, len(head.text), controls=True)
        *parts, last = chat.cut(head.text)
        if last.strip() in chat.controls:
            parts, last = [*parts, last], ""
        ids: list[int] = []
        for part in parts:
            control = chat.controls.get(part.strip())
            ids += self._ids([_shown(part, head)])[0] if control is None else [control]
        shown = _shown(last, head)
        tail, start = self._tokenized(shown + text, len(shown), controls=False)
        return Tokens([*ids, *tail], len(ids) + start)

    def _tokenized(self, string: str, boundary: int, controls: bool) -> Tokens:
        """Tokenise a string; the first token to be scored is the first one that reaches beyond the boundary."""
        how: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": not controls}
        if len(string) <= boundary:
            ids = list(self.tokenizer(string, **how)["input_ids"])
            return Tokens(ids, len(ids))
        encoded = self.tokenizer(string, return_offsets_mapping=True, **how)
        beyond = (i for i, (_, last) in enumerate(encoded["offset_mapping"]) if last > boundary)
        return Tokens(list(encoded["input_ids"]), next(beyond))

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        batch = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        return list(batch["input_ids"])


def _shown(text: str, written: Written) -> str:
    for replacement, control in written.hidden.items():
        text = text.replace(replacement, control)
    return text
