"""A local causal language model as a judge: the likelihoods of its possible answers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.special import softmax

from causalopt.backends.huggingface.policy import context_length
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.judges.contracts import Pair, Preference
from causalopt.judges.questions import NAMES, Question
from causalopt.language_models import scratch
from causalopt.language_models.load import find_model, load_model, prepare
from causalopt.language_models.scoring import CausalLM
from causalopt.language_models.smollm2 import NAME as SMOLLM2
from causalopt.language_models.tokenization import TextCodec
from causalopt.typing import Float64

CONTEXT = 8192
"""Tokens that the model from scratch reads, each a byte."""


class _Model(NamedTuple):
    codec: TextCodec
    model: CausalLM


class LocalLMJudge:
    """Asks a causal language model on this machine, and reads its preference from the answers' likelihoods.

    With the question q(A, B), and P the likelihood of the tokens of an answer after it, the preference for the first
    text is ``P("A" | q) / (P("A" | q) + P("B" | q))``. On the Likert scale it is the mean, under the seven answers'
    likelihoods normalised to one, of ``(7 - k) / 6``. The model writes nothing, so every answer can be read.

    Parameters
    ----------
    model:
        ``smollm2``, a folder with a model or a PEFT adapter, a hub id, or ``scratch:tiny``: random weights over bytes,
        for trials of a set-up.
    chat_template:
        Whether the question is a user's message in the tokenizer's chat template; ``auto`` if there is one. Without a
        template the question ends in "Answer:".
    chat_template_kwargs:
        What the template takes besides messages, such as ``{enable_thinking: false}``.

    Raises
    ------
    ConfigError
        If there is no chat template and one is asked for.
    ModelError
        If there is no such model.
    """

    questions = NAMES

    def __init__(
        self,
        model: str = SMOLLM2,
        chat_template: Literal["auto", True, False] = "auto",
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if model.startswith("scratch:") and model != scratch.NAME:
            raise ConfigError(f"judge.model: no model from scratch is called {model!r}; there is {scratch.NAME!r}")
        if model == scratch.NAME:
            warnings.warn(
                f"judge local-lm with {scratch.NAME}: its weights are random, and so are its preferences",
                CausalOptWarning,
                stacklevel=2,
            )
        else:
            find_model(model)
        self.model, self.chat_template = model, chat_template
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.identity = {
            "model": model, "chat_template": chat_template, "chat_template_kwargs": self.chat_template_kwargs,
        }  # fmt: skip

    def compare(self, pairs: Sequence[Pair], question: Question) -> Iterator[Preference]:
        if not pairs:
            return
        heads, answers = self._heads(pairs, question), self._answers(question)
        values = np.array([question.preference(option) for option in question.options])
        for i, head in enumerate(heads):
            log_prob = self._log_prob(head, answers)
            first = float(softmax(log_prob) @ values)
            raw = json.dumps(dict(zip(question.options, log_prob.tolist(), strict=True)))
            yield Preference(i, min(max(first, 0.0), 1.0), raw)  # a sum of shares may round to beyond 1

    @cached_property
    def _loaded(self) -> _Model:
        if self.model == scratch.NAME:
            tokenizer = scratch.train_tokenizer([])
            language_model: Any = scratch.make_model(tokenizer, CONTEXT, seed=0)
            prepare(language_model)
        else:
            language_model, tokenizer, _ = load_model(self.model)
        chat = bool(tokenizer.chat_template) if self.chat_template == "auto" else self.chat_template
        if chat and not tokenizer.chat_template:
            raise ConfigError(f"judge.chat_template is true, but the tokenizer of {self.model!r} has no chat template")
        codec = TextCodec(
            tokenizer,
            context_length(language_model),
            chat_template=chat,
            chat_template_kwargs=self.chat_template_kwargs,
        )
        return _Model(codec, language_model)

    def _heads(self, pairs: Sequence[Pair], question: Question) -> list[list[int]]:
        """Tokens of what stands before each answer."""
        codec = self._loaded.codec
        ending = "" if codec.chat_template else "\nAnswer:"
        heads = codec.encode_prompts([question.write(*pair) + ending for pair in pairs], len(pairs))
        room = max(map(len, self._answers(question)))
        for pair, head in zip(pairs, heads, strict=True):
            if len(head) + room > codec.max_length:
                raise DataError(
                    f"the question about the texts {pair.first[:40]!r} and {pair.second[:40]!r} has {len(head)} tokens "
                    f"with its prompt, and the judge {self.model!r} reads {codec.max_length} in all; shorten the "
                    "prompt or the texts, or name another judge.model"
                )
        return heads

    def _answers(self, question: Question) -> list[list[int]]:
        codec = self._loaded.codec
        space = "" if codec.chat_template else " "
        return [codec.tokenizer(space + option, add_special_tokens=False)["input_ids"] for option in question.options]

    def _log_prob(self, head: list[int], answers: Sequence[list[int]]) -> Float64:
        """Log-likelihood of each answer after a head, shape [answers], nats.

        Answers that differ in their last token alone, as single letters do, take one forward pass.
        """
        model, found = self._loaded.model, np.zeros(len(answers))
        for begun in dict.fromkeys(tuple(answer[:-1]) for answer in answers):
            ids = torch.tensor([[*head, *begun]], device=model.device)
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(begun) + 1).logits[0]
            of_token = torch.log_softmax(logits.double(), dim=-1).cpu().numpy()
            for i, answer in enumerate(answers):
                if tuple(answer[:-1]) == begun:
                    found[i] = of_token[np.arange(len(answer)), answer].sum()
        return found
