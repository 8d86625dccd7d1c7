"""The texts that each prompt can be answered with, where prompts have candidates of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from causalopt.arrays import as_vector
from causalopt.doors import as_texts, check_type
from causalopt.errors import DataError
from causalopt.typing import Float64, Int64

MOSTLY = 0.95
"""Share of the distinct texts that occur with one prompt alone, above which prompts have candidates of their own."""


@dataclass(frozen=True, eq=False)
class ChoiceSets:
    """The candidates of each of C prompts, N in all: what discrete-choice models call choice sets (McFadden 1974).

    The arrays have an entry for each candidate of each prompt, those of the first prompt first, so that their size is
    the number of candidates and not that of prompts times texts.

    Attributes
    ----------
    prompts:
        C distinct prompts.
    texts:
        N texts, grouped by prompt.
    start:
        Position of the first candidate of each prompt, and N, shape [C + 1].
    exposure:
        How much each candidate was shown, shape [N], in the units of the rows' weight; 0 if it never was.

    Raises
    ------
    DataError
        If a prompt has no candidate, or a prompt or a candidate of a prompt is listed twice.

    Examples
    --------
    >>> from causalopt.data.choice_sets import ChoiceSets
    >>> sets = ChoiceSets.listed({"Storm": ["Storm hits", "Roofs fly"], "Vote": ["They voted", "Vote!", "A tie"]})
    >>> len(sets), sets.segment.tolist(), sets.index_of(["Vote"], ["A tie"]).tolist()
    (5, [0, 0, 1, 1, 1], [4])
    """

    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    start: Int64
    exposure: Float64

    def __post_init__(self) -> None:
        sizes = np.diff(self.start)
        if (sizes < 1).any():
            raise DataError(f"the prompt {self.prompts[int(np.argmin(sizes))]!r} has no candidate")
        if len(self._position) < len(self.texts) or len(self._prompt) < len(self.prompts):
            raise DataError("a prompt, or a candidate of a prompt, is listed twice")

    @classmethod
    def logged(cls, prompts: Sequence[str], texts: Sequence[str], weight: Float64 | None = None) -> Self:
        """Collect the texts that were logged with each prompt, with their total weight (default: number of rows)."""
        prompts, texts = as_texts("prompts", prompts), as_texts("texts", texts)
        if len(prompts) != len(texts):
            raise DataError(f"there are {len(prompts)} prompts for {len(texts)} texts")
        exposure = np.ones(len(texts)) if weight is None else as_vector("weight", weight, len(texts))
        if (exposure < 0).any():
            raise DataError(f"weight[{int(np.argmax(exposure < 0))}] is negative: weights are exposures")
        found: dict[str, dict[str, float]] = {}
        for prompt, text, one in zip(prompts, texts, exposure.tolist(), strict=True):
            own = found.setdefault(prompt, {})
            own[text] = own.get(text, 0.0) + float(one)
        return cls._of(found)

    @classmethod
    def listed(cls, candidates: Mapping[str, Sequence[str]]) -> Self:
        """Take the candidates of each prompt from a mapping; none of them was shown."""
        check_type("candidates", candidates, (Mapping,), "a mapping from prompts to lists of texts")
        as_texts("prompts", list(candidates))
        for prompt, given in candidates.items():
            texts = as_texts(f"the candidates of prompt {prompt!r}", given)
            if len(set(texts)) < len(texts):
                repeated = next(text for i, text in enumerate(texts) if text in texts[:i])
                raise DataError(f"the candidates of prompt {prompt!r} list {repeated!r} twice")
        return cls._of({prompt: dict.fromkeys(texts, 0.0) for prompt, texts in candidates.items()})

    @classmethod
    def _of(cls, exposure: Mapping[str, Mapping[str, float]]) -> Self:
        sizes = [len(own) for own in exposure.values()]
        return cls(
            tuple(exposure),
            tuple(text for own in exposure.values() for text in own),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.array([one for own in exposure.values() for one in own.values()], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def segment(self) -> Int64:
        """Position of the prompt of each candidate, shape [N]."""
        return np.repeat(np.arange(len(self.prompts)), np.diff(self.start))

    @cached_property
    def _position(self) -> dict[tuple[str, str], int]:
        return {(self.prompts[c], text): j for j, (c, text) in enumerate(zip(self.segment, self.texts, strict=True))}

    @cached_property
    def _prompt(self) -> dict[str, int]:
        return {prompt: c for c, prompt in enumerate(self.prompts)}

    def own(self) -> bool:
        """Whether the data say that prompts have candidates of their own.

        They do if at least half of the prompts have two texts or more, and at least 95% of the distinct texts occur
        with one prompt alone: texts that are written for a prompt are not repeated for others.
        """
        distinct, count = np.unique(np.array(self.texts, dtype=object), return_counts=True)
        several = float(np.mean(np.diff(self.start) > 1))
        return len(self.prompts) > 1 and several >= 0.5 and float(np.mean(count == 1)) >= MOSTLY and len(distinct) > 1

    def knows(self, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """Whether each text is a candidate of its prompt."""
        return [pair in self._position for pair in zip(prompts, texts, strict=True)]

    def index_of(self, prompts: Sequence[str], texts: Sequence[str]) -> Int64:
        """Position of each text among all candidates, shape [n]; `DataError` if it is none of its prompt's."""
        self.prompt_index(prompts)
        try:
            return np.array([self._position[pair] for pair in zip(prompts, texts, strict=True)], dtype=np.int64)
        except KeyError as error:
            prompt, text = error.args[0]
            own = int(np.diff(self.start)[self._prompt[prompt]])
            raise DataError(f"the text {text!r} is not among the {own} candidates of prompt {prompt!r}") from None

    def prompt_index(self, prompts: Sequence[str]) -> Int64:
        """Position of each prompt, shape [n]; `DataError` for a prompt without candidates."""
        try:
            return np.array([self._prompt[prompt] for prompt in prompts], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"no candidates are known for the prompt {error.args[0]!r}: name them with policy.answering(sets)"
            ) from None

    def candidates_of(self, prompts: Sequence[str]) -> tuple[Int64, Int64]:
        """Positions of all candidates of each prompt, and the position in ``prompts`` that each belongs to, [m]."""
        asked = self.prompt_index(prompts)
        sizes = np.diff(self.start)[asked]
        of_prompt = np.repeat(np.arange(len(asked)), sizes)
        first = np.cumsum(sizes) - sizes
        return self.start[asked][of_prompt] + np.arange(len(of_prompt)) - first[of_prompt], of_prompt

    def shown(self, prompts: Sequence[str], texts: Sequence[str], weight: Float64) -> Self:
        """Return the same candidates with the total weight of their rows as exposure."""
        exposure = np.bincount(self.index_of(prompts, texts), weights=weight, minlength=len(self))
        return type(self)(self.prompts, self.texts, self.start, exposure.astype(np.float64))

    def without(self, other: ChoiceSets) -> Self | None:
        """Return the prompts that ``other`` does not have, with their candidates; None if it has all of them."""
        new = {prompt for prompt in self.prompts if prompt not in other._prompt}
        kept = [
            (self.prompts[c], text, one)
            for c, text, one in zip(self.segment, self.texts, self.exposure, strict=True)
            if self.prompts[c] in new
        ]
        if not kept:
            return None
        prompts, texts, exposure = zip(*kept, strict=True)
        return type(self).logged(prompts, texts, np.array(exposure))

    def with_more(self, other: ChoiceSets) -> Self:
        """Append prompts that these sets do not have."""
        return type(self)(
            (*self.prompts, *other.prompts),
            (*self.texts, *other.texts),
            np.concatenate([self.start, self.start[-1] + other.start[1:]]),
            np.concatenate([self.exposure, other.exposure]),
        )

    def sentence(self) -> str:
        """Say what is chosen among."""
        sizes = np.diff(self.start)
        between = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        return (
            f"Each of {len(self.prompts):,} prompts has candidates of its own, the texts logged with it ({between} "
            f"each, {len(self):,} in all); the reference shows them as often as they were shown."
        )
