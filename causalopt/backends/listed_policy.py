"""A policy written down as a list: texts with their probabilities, for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from causalopt.data import files
from causalopt.errors import DataError, ModelError
from causalopt.output import writing_folder
from causalopt.typing import Float64

TOLERANCE = 1e-6
"""Largest difference from one of a prompt's probabilities, which may have been rounded in a file."""
_FILE = "listed_policy.parquet"


class ListedPolicy:
    """P(x | c) as a list of texts with their probabilities; every other text has probability zero.

    "Always this text" is a list of one text with probability one, and a fixed answer to each prompt a list of one text
    for each prompt. Prompts may have candidates of their own: only what is listed is stored.

    Parameters
    ----------
    texts:
        k texts, each once for each prompt.
    probability:
        Their probabilities, shape [k]; those of a prompt sum to one, up to rounding, for which they are corrected.
    prompts:
        The prompt that each text answers, k strings; None for a policy without prompts.
    source:
        Name in error messages.

    Raises
    ------
    DataError
        For a probability outside of [0, 1], probabilities that do not sum to one, or a text that is listed twice.

    Examples
    --------
    >>> from causalopt.backends.listed_policy import ListedPolicy
    >>> ListedPolicy(["Give now."], [1.0]).log_prob(None, ["Give now.", "Join us."]).tolist()
    [0.0, -inf]
    >>> ListedPolicy(["Yes.", "No."], [1.0, 1.0], ["Help?", "Harm?"]).sample(["Harm?", "Help?"], 2, seed=0)
    ['No.', 'Yes.']
    """

    def __init__(
        self, texts: Sequence[str], probability: Any, prompts: Sequence[str] | None = None, source: str = "the policy"
    ) -> None:
        values = np.asarray(probability, dtype=np.float64)
        if values.shape != (len(texts),) or not len(texts) or (prompts is not None and len(prompts) != len(texts)):
            raise DataError(f"{source}: needs one probability, and one prompt if there are any, for each listed text")
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{source}: row {row + 1}: {values[row]:g} is not a probability between 0 and 1")
        asked: Sequence[str | None] = [None] * len(texts) if prompts is None else prompts
        twice = pd.DataFrame({"prompt": list(asked), "text": list(texts)}).duplicated()
        if twice.any():
            row = int(twice.to_numpy().argmax())
            raise DataError(f"{source}: row {row + 1}: {texts[row][:60]!r} is listed twice{_for(asked[row])}")
        self.source = source
        self._answers: dict[str | None, dict[str, float]] = {}
        for prompt, text, value in zip(asked, texts, values, strict=True):
            self._answers.setdefault(prompt, {})[text] = float(value)
        self._conditional = prompts is not None
        for prompt, answers in self._answers.items():
            total = sum(answers.values())
            if abs(total - 1) > TOLERANCE:
                raise DataError(
                    f"{source}: the probabilities{_for(prompt)} sum to {total:g} and not to 1: list every text that "
                    "the policy may write"
                )
            self._answers[prompt] = {text: value / total for text, value in answers.items()}

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, text: str, prompt: str | None, source: str) -> Self:
        """Read a table with columns of texts, of prompts if the data have any, and ``probability``.

        Raises
        ------
        DataError
            If a column is missing, a text is empty, or a probability is not a number.
        """
        files.check_texts(frame, [text] if prompt is None else [text, prompt], source)
        if "probability" not in frame:
            raise DataError(
                f"{source}: there is no column 'probability'; there are: {', '.join(map(str, frame.columns))}"
            )
        try:
            values = [files.number(cell) for cell in frame["probability"]]
        except ValueError as error:
            raise DataError(f"{source}: column 'probability': {error}") from None
        return cls(frame[text].tolist(), values, None if prompt is None else frame[prompt].tolist(), source)

    @classmethod
    def of_rows(cls, texts: Sequence[str], prompts: Sequence[str] | None, weight: Float64) -> Self:
        """Return the shares of exposure of the texts in a table of n rows, given their prompts."""
        frame = pd.DataFrame(
            {"prompt": "" if prompts is None else list(prompts), "text": list(texts), "weight": weight}
        )
        # Where no row of a prompt counts, its texts share alike: they enter no value.
        counts = frame["weight"].where(frame.groupby("prompt")["weight"].transform("sum") > 0, 1.0)
        frame["share"] = counts / counts.groupby(frame["prompt"]).transform("sum")
        sums = frame.groupby(["prompt", "text"], sort=False)["share"].sum().reset_index()
        return cls(
            sums["text"].tolist(), sums["share"].clip(upper=1.0), None if prompts is None else sums["prompt"].tolist()
        )

    @classmethod
    def equally(cls, texts: Sequence[str], prompts: Sequence[str] | None) -> Self:
        """Return equal probabilities of the distinct texts in a table of n rows, given their prompts.

        Examples
        --------
        >>> from causalopt.backends.listed_policy import ListedPolicy
        >>> ListedPolicy.equally(["a", "b", "a", "a"], None).log_prob(None, ["a"]).round(3).tolist()
        [-0.693]
        """
        listed = pd.DataFrame({"prompt": "" if prompts is None else list(prompts), "text": list(texts)})
        listed = listed.drop_duplicates()
        share = 1 / listed.groupby("prompt")["text"].transform("size")
        return cls(listed["text"].tolist(), share, None if prompts is None else listed["prompt"].tolist())

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        """log P(x_i | c_i), shape [n], nats; -inf for a text that is not listed, `DataError` for such a prompt."""
        answers = self._answers_to(prompts, len(texts))
        probability = [own.get(text, 0.0) for own, text in zip(answers, texts, strict=True)]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.array(probability, dtype=np.float64)))

    def distribution(self, prompts: Sequence[str] | None) -> tuple[list[str], Float64]:
        """All k texts for some prompts, and their log-probabilities: shape [k] without prompts, else [n, k], nats."""
        answers = self._answers_to(prompts, 1 if prompts is None else len(prompts))
        position: dict[str, int] = {}
        for own in answers:
            for text in own:
                position.setdefault(text, len(position))
        probability = np.zeros((len(answers), len(position)))
        for i, own in enumerate(answers):
            probability[i, [position[text] for text in own]] = list(own.values())
        with np.errstate(divide="ignore"):
            log_prob = np.log(probability)
        return list(position), np.asarray(log_prob[0] if prompts is None else log_prob)

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw ``n`` texts, one for each prompt if there are prompts."""
        uniform = np.random.default_rng(seed).random(n)
        drawn = []
        for own, u in zip(self._answers_to(prompts, n), uniform, strict=True):
            upper = np.cumsum(list(own.values()))
            # A uniform number above the last sum, which rounding may leave below one, belongs to the last text.
            drawn.append(list(own)[min(int(np.searchsorted(upper / upper[-1], u, side="right")), len(own) - 1)])
        return drawn

    def _answers_to(self, prompts: Sequence[str] | None, n: int) -> list[dict[str, float]]:
        """Return the listed texts for each of n rows, with their probabilities."""
        if (prompts is not None) != self._conditional:
            needs = "answers prompts, and there are none" if self._conditional else "has no prompts to answer"
            raise DataError(f"{self.source}: {needs}")
        asked: Sequence[str | None] = [None] * n if prompts is None else prompts
        missing = next((prompt for prompt in asked if prompt not in self._answers), None)
        if missing is not None:
            raise DataError(f"{self.source}: no text is listed{_for(missing)}: list one, with its probability")
        return [self._answers[prompt] for prompt in asked]

    def save(self, directory: str | Path) -> None:
        folder = Path(directory)
        rows = [(prompt, text, p) for prompt, own in self._answers.items() for text, p in own.items()]
        with writing_folder(folder):
            pd.DataFrame(rows, columns=["prompt", "text", "probability"]).to_parquet(folder / _FILE, index=False)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        path = Path(directory) / _FILE
        frame = files.read_parquet(path)
        for column in ("prompt", "text", "probability"):
            if column not in frame:
                raise ModelError(f"{path}: has no column {column!r}; save the policy again")
        prompt = None if frame["prompt"].isna().all() else "prompt"
        return cls.from_frame(frame, text="text", prompt=prompt, source=str(directory))


def _for(prompt: str | None) -> str:
    return "" if prompt is None else f" for the prompt {prompt[:60]!r}"
