r"""Questions that judges are asked about two texts, the words in which they are asked, and how answers are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from causalopt.errors import ConfigError
from causalopt.messages import readable
from causalopt.signatures import shown

Scale = Literal["binary", "likert"]
OUTCOME, COHERENCE = "outcome", "coherence"
NAMES = (OUTCOME, COHERENCE)
"""Names of the questions, as in the evaluation of Lin, Ben-Michael and Morency (2024)."""
COHERENT = "Which of the two texts is more coherent, that is, fluent, free of contradictions and to the point?"
POINTS = 7
"""Points of the Likert scale, whose middle is no preference."""

_INSTRUCTION: dict[Scale, str] = {
    "binary": "Answer with one letter, A or B, and nothing else.",
    "likert": f"Answer with one whole number from 1 to {POINTS} and nothing else: 1 means text A by far, "
    f"{(POINTS + 1) // 2} means no difference, and {POINTS} means text B by far.",
}
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
"""What some models write before an answer, where the server does not separate it."""
_MARKS = r"[\s\"'`*_.()\[\]]*"
_BEFORE = rf"{_MARKS}(?:answer:?)?{_MARKS}(?:text)?{_MARKS}"
_ANSWER: dict[Scale, re.Pattern[str]] = {
    "binary": re.compile(rf"{_BEFORE}([AB]){_MARKS}", re.IGNORECASE),
    "likert": re.compile(rf"{_BEFORE}([1-{POINTS}]){_MARKS}", re.IGNORECASE),
}


@dataclass(frozen=True)
class Question:
    """A question about two texts.

    Parameters
    ----------
    name:
        ``outcome`` or ``coherence``.
    criterion:
        The question itself, one sentence: which of the two texts does what?
    scale:
        ``binary`` asks for A or B; ``likert`` for a number from 1 (A by far) to 7 (B by far).

    Raises
    ------
    ConfigError
        If the criterion is empty.

    Examples
    --------
    >>> from causalopt.judges.questions import Question
    >>> question = Question("outcome", "Which text would more readers donate after?")
    >>> question.read("B."), question.read("**A**"), question.read("Both are fine.")
    (0.0, 1.0, None)
    >>> Question("outcome", question.criterion, scale="likert").read("4")
    0.5
    """

    name: str
    criterion: str
    scale: Scale = "binary"

    def __post_init__(self) -> None:
        if not self.criterion.strip():
            raise ConfigError(f"the criterion of the question {self.name!r} is empty; say what the texts are judged by")

    @property
    def options(self) -> tuple[str, ...]:
        """The answers that can be read."""
        return ("A", "B") if self.scale == "binary" else tuple(str(point) for point in range(1, POINTS + 1))

    def preference(self, option: str) -> float:
        """Strength of the preference for the first text, from 0 to 1, of one of the `options`."""
        position = self.options.index(option)
        return 1.0 - position / (len(self.options) - 1)

    def write(self, prompt: str | None, first: str, second: str) -> str:
        """Return the message to a language model: the prompt, both texts, the question and how to answer it."""
        begin = "Compare two texts." if prompt is None else "Compare two texts that answer the same prompt."
        parts = [begin] if prompt is None else [begin, f"<prompt>\n{readable(prompt)}\n</prompt>"]
        parts += [f"Text A:\n<text>\n{first}\n</text>", f"Text B:\n<text>\n{second}\n</text>"]
        return "\n\n".join([*parts, f"{self.criterion}\n{_INSTRUCTION[self.scale]}"])

    def read(self, answer: str) -> float | None:
        """Return the preference for the first text that an answer states; None if it states none, or more than one.

        Marks around the letter or the number, the words "answer" and "text" before it, and a thought in ``<think>``
        tags are passed over. An answer with anything else in it cannot be read.
        """
        found = _ANSWER[self.scale].fullmatch(_THOUGHT.sub("", answer, count=1))
        return None if found is None else self.preference(found[1].upper())


def outcome_criterion(outcome: str, direction: str) -> str:
    """Return the question about an outcome, by the name of its column and the direction that is better.

    Examples
    --------
    >>> from causalopt.judges.questions import outcome_criterion
    >>> outcome_criterion("donation", "maximize")
    "Which of the two texts would lead the people who read it to a higher 'donation'?"
    """
    higher = "higher" if direction == "maximize" else "lower"
    return f"Which of the two texts would lead the people who read it to a {higher} {shown(outcome)}?"
