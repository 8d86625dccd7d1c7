"""A small language model whose log-probabilities are exact: a Markov chain over the phrases of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from causalopt.errors import DataError, ModelError
from causalopt.typing import Float64, Int64

_DESCRIPTION = "phrase_model.json"
_ARRAYS = "phrase_model.safetensors"


class PhraseModel:
    """P(x | c) = P(phrase_1 | c) P(phrase_2 | c, phrase_1) P(phrase_3 | c, phrase_2) ...

    A text consists of one phrase from each slot, joined by spaces; any other text has probability 0.

    Parameters
    ----------
    prompts:
        C distinct prompts.
    slots:
        The phrases of each slot, by its name. No text may arise in two ways.
    logits:
        One array for each slot j, with the logits of its phrases for each prompt and each phrase of slot j - 1, shape
        [C, phrases of slot j - 1, phrases of slot j], nats up to a constant; the second length is 1 for the first slot.

    Attributes
    ----------
    texts, phrase:
        All k texts, and the position of the phrase that each has in each slot, shape [k, slots].
    log_prob_table:
        log P(x | c), shape [C, k], nats.

    Raises
    ------
    DataError
        If prompts or texts are repeated, or the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation.phrase_model import PhraseModel
    >>> slots = {"greeting": ("Hello,", "Hi,"), "answer": ("yes.", "no.")}
    >>> logits = [np.log([[[0.25, 0.75]]]), np.zeros((1, 2, 2))]
    >>> model = PhraseModel(["Is it open?"], slots, logits)
    >>> np.exp(model.log_prob(["Is it open?"], ["Hi, no."])).round(3).tolist()
    [0.375]
    """

    def __init__(self, prompts: Sequence[str], slots: Mapping[str, Sequence[str]], logits: Sequence[Float64]) -> None:
        self.prompts = list(prompts)
        self.slots = {name: tuple(phrases) for name, phrases in slots.items()}
        sizes = [len(phrases) for phrases in self.slots.values()]
        expected = [(len(self.prompts), before, size) for before, size in zip([1, *sizes], sizes, strict=False)]
        if [each.shape for each in logits] != expected:
            raise DataError(f"the slots need logits of shapes {expected}, not {[each.shape for each in logits]}")
        self._log_next = [np.asarray(log_softmax(each, axis=2), dtype=np.float64) for each in logits]
        self.texts = [" ".join(phrases) for phrases in product(*self.slots.values())]
        self.phrase: Int64 = np.array(list(product(*map(range, sizes))), dtype=np.int64)
        self._text = {text: i for i, text in enumerate(self.texts)}
        self._prompt = {prompt: i for i, prompt in enumerate(self.prompts)}
        if len(self._text) < len(self.texts) or len(self._prompt) < len(self.prompts):
            raise DataError("a phrase model's prompts and texts must be distinct")
        before = np.hstack([np.zeros((len(self.texts), 1), dtype=np.int64), self.phrase[:, :-1]])
        terms = [table[:, before[:, j], self.phrase[:, j]] for j, table in enumerate(self._log_next)]
        self.log_prob_table: Float64 = np.sum(terms, axis=0)

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        index = np.array([self._text.get(text, -1) for text in texts], dtype=np.int64)
        return np.where(index < 0, -np.inf, self.log_prob_table[self._positions(prompts, len(texts)), index])

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        prompt = self._positions(prompts, n)
        rng = np.random.default_rng(seed)
        chosen, words = np.zeros(n, dtype=np.int64), np.empty((n, len(self.slots)), dtype=object)
        for j, (phrases, table) in enumerate(zip(self.slots.values(), self._log_next, strict=True)):
            cumulative = np.cumsum(np.exp(table[prompt, chosen]), axis=1)
            chosen = (rng.random((n, 1)) * cumulative[:, -1:] >= cumulative).sum(axis=1)
            words[:, j] = np.array(phrases, dtype=object)[chosen]
        return [" ".join(row) for row in words]

    def save(self, directory: str | Path) -> None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({str(j): table for j, table in enumerate(self._log_next)}, folder / _ARRAYS)
        text = json.dumps({"prompts": self.prompts, "slots": self.slots}, ensure_ascii=False, indent=1)
        (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        folder = Path(directory)
        try:
            described = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            tables = load_file(folder / _ARRAYS)
            return cls(described["prompts"], described["slots"], [tables[str(j)] for j in range(len(tables))])
        except (ValueError, KeyError, OSError, SafetensorError, DataError) as error:
            raise ModelError(f"{folder} holds no phrase model that can be read: {error}") from error

    def _positions(self, prompts: Sequence[str] | None, n: int) -> Int64:
        if prompts is None or len(prompts) != n:
            raise DataError("a phrase model answers prompts: give one for each text")
        try:
            return np.array([self._prompt[prompt] for prompt in prompts], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"the phrase model does not know the prompt {error.args[0]!r}") from None
