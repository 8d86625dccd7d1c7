"""Texts to tokens: ``[start, prompt, text, end]``, with the boundary between what is given and what is scored."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jinja2
from transformers import PreTrainedTokenizerBase

from causalopt.errors import ConfigError, DataError, ModelError, TruncationWarning, one_line

OnLongText = Literal["error", "truncate"]


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

    Prompt and text are tokenised apart and joined, so that the boundary is where a sampled text begins. Special
    tokens inside a text are read as the characters that they are.

    Attributes
    ----------
    tokenizer:
        Needs an end-of-sequence token; the start is its beginning-of-sequence token, or its end when it has none.
    max_length:
        Tokens of start, prompt, text and end together.
    on_long_text:
        What happens to a longer text: "error" refuses it, "truncate" cuts it (it is then scored without an end) and
        warns with the number. A prompt that leaves no room for a text is cut on the left then, to half of the limit.
    chat_template:
        Whether a prompt is a user's message in the tokenizer's chat template.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    on_long_text: OnLongText = "error"
    chat_template: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise ModelError("the model's tokenizer has no end-of-sequence token, so a text would have no end")
        if self.chat_template and not self.tokenizer.chat_template:
            raise ConfigError("backend.chat_template is on, but the model's tokenizer has no chat template")

    @property
    def end(self) -> int:
        """Id of the token that ends a text."""
        return int(self.tokenizer.eos_token_id)

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
        heads = self.encode_prompts(prompts, len(texts))
        encoded = []
        cut = 0
        for i, (head, body) in enumerate(zip(heads, self._ids(texts), strict=True)):
            ids = [*head, *body, self.end]
            if len(ids) > self.max_length:
                if self.on_long_text == "error" or len(head) >= self.max_length:
                    raise DataError(
                        f"text {i} has {len(ids)} tokens with its prompt and end, and the limit is {self.max_length}: "
                        "raise backend.max_length if the model's context allows it, or set backend.on_long_text: "
                        "truncate"
                    )
                ids = ids[: self.max_length]
                cut += 1
            encoded.append(Tokens(ids, len(head)))
        if cut:
            warnings.warn(
                f"{cut} of {len(texts)} texts are longer than {self.max_length} tokens and were cut",
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
        if self.chat_template:
            rendered = [self._render(prompt) for prompt in distinct]
            ids = self.tokenizer(rendered, add_special_tokens=False)["input_ids"]
        else:
            ids = [[self._start, *tokens] for tokens in self._ids(distinct)]
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

    def fits(self, head: Sequence[int], text: str) -> bool:
        """Whether a text with its end has room after what stands before it; a drawn text may be tokenised otherwise."""
        return len(head) + len(self._ids([text])[0]) + 1 <= self.max_length

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, with every space as it is."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    @property
    def _start(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.end if bos is None else int(bos)

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        batch = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        return list(batch["input_ids"])

    def _render(self, prompt: str) -> str:
        message = [{"role": "user", "content": prompt}]
        try:
            return str(self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
        except jinja2.TemplateError as error:  # it runs in a sandbox, and may refuse a message
            raise ModelError(f"the tokenizer's chat template fails: {one_line(error)}") from error
