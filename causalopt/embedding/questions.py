"""Attributes of a text by the answers of a language model to yes-or-no questions about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from causalopt.embedding.locate import local_folder
from causalopt.errors import ConfigError
from causalopt.progress import track
from causalopt.typing import Float64

TEMPLATE = "{question} Answer Yes or No.\n\nText: {text}\n\nAnswer:"
ANSWERS = ("Yes", "No")


class LanguageModelCoder(BaseEstimator):  # type: ignore[misc]
    """An attribute is the probability that a language model answers "Yes" to its question about the text.

    The value is P(Yes) / (P(Yes) + P(No)), of whole answers with their end, in float32, under the tokenizer's chat
    template if it has one. What a small model answers may have little to do with the question: compare with codes of
    people on some texts before relying on it.

    Parameters
    ----------
    questions:
        For each attribute its question, such as ``{"thanks": "Does the text express gratitude?"}``.
    model:
        As for the huggingface backend: a hub id, a folder (of a model or of a PEFT adapter), or ``smollm2``.
    batch_size:
        Number of texts per forward pass.

    Raises
    ------
    ConfigError
        If there is no question.
    ModelError
        If there is no such model, on the first use.
    DataError
        If a text with its question is longer than the model's context.
    """

    def __init__(self, questions: Mapping[str, str], model: str = "smollm2", batch_size: int = 16) -> None:
        asked = questions.values() if isinstance(questions, Mapping) else ()
        if not asked or not all(isinstance(question, str) and question.strip() for question in asked):
            raise ConfigError(
                "attribute coder 'language-model': questions must give each attribute a question, such as "
                "{thanks: Does the text express gratitude?}"
            )
        if batch_size < 1:
            raise ConfigError(f"attribute coder 'language-model': batch_size must be at least 1, not {batch_size}")
        self.questions = questions
        self.model = model
        self.batch_size = batch_size
        self._source = str(local_folder(model) or model)
        self._loaded: tuple[Any, Any] | None = None

    def code(self, texts: Sequence[str]) -> pd.DataFrame:
        """Code n texts: a column of probabilities for each attribute."""
        return pd.DataFrame({name: self._ask(question, texts) for name, question in self.questions.items()})

    def _ask(self, question: str, texts: Sequence[str]) -> Float64:
        import torch

        from causalopt.language_models.batching import pack

        model, codec = self._load()
        prompts = [TEMPLATE.format(question=question, text=text) for text in texts for _ in ANSWERS]
        tokens = codec.encode(prompts, list(ANSWERS) * len(texts)) if len(texts) else []
        step = len(ANSWERS) * self.batch_size
        log_prob = np.zeros(len(tokens))
        with torch.inference_mode():
            for start in track(range(0, len(tokens), step), "coding texts"):
                batch = {
                    name: part.to(model.causal_lm.device) for name, part in pack(tokens[start : start + step]).items()
                }
                log_prob[start : start + step] = model.log_prob(**batch).cpu().numpy()
        yes, no = log_prob.reshape(-1, len(ANSWERS)).T
        return np.asarray(np.exp(yes - np.logaddexp(yes, no)))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from causalopt.language_models.load import load_model
            from causalopt.language_models.scoring import SequenceLogProb
            from causalopt.language_models.tokenization import TextCodec

            loaded = load_model(self._source)
            longest = int(loaded.model.config.max_position_embeddings)
            codec = TextCodec(loaded.tokenizer, longest, chat_template=bool(loaded.tokenizer.chat_template))
            self._loaded = (SequenceLogProb(loaded.model), codec)
        return self._loaded
