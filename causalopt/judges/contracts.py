"""The contract of judges: pairs of texts and a question in, preferences out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from causalopt.judges.questions import Question


class Pair(NamedTuple):
    """Two texts in the order in which a judge sees them, and the prompt that both answer (None: there is none)."""

    prompt: str | None
    first: str
    second: str


@dataclass(frozen=True)
class Preference:
    """What a judge says of one pair.

    Attributes
    ----------
    pair:
        Position of the pair among those asked.
    first:
        Probability, or strength on a scale from 0 to 1, with which the first text is preferred: 1 is the first, 0 the
        second, 0.5 neither. None if the answer cannot be read; it is never guessed.
    answer:
        The raw answer, which is kept.
    """

    pair: int
    first: float | None
    answer: str


@runtime_checkable
class Judge(Protocol):
    """Compares texts in pairs.

    Both orders of each pair are asked by the caller, so a judge sees a pair as it is given.

    Attributes
    ----------
    questions:
        Names of the questions that it can answer, from `causalopt.judges.questions.NAMES`.
    identity:
        Everything that its answers depend on, as JSON (the model and its settings, and never a key). It is recorded
        with the answers, and a comparison that was interrupted goes on with a judge of the same identity alone.
    """

    questions: Sequence[str]
    identity: Mapping[str, Any]

    def compare(self, pairs: Sequence[Pair], question: Question) -> Iterable[Preference]:
        """Yield one preference for each pair, in any order, each as soon as it is known.

        What has been yielded is on disk before the next one is asked for, so that an error or a kill loses nothing that
        was yielded.

        Raises
        ------
        DataError
            If a text or a prompt cannot be judged, such as one that is too long.
        ModelError
            If the judge fails; first everything that has been answered is yielded.
        """
        ...
