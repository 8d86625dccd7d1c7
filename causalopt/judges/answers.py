"""The file of a judge's raw answers: each is on disk before the next one is asked for, and none is asked twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, NamedTuple

from causalopt.errors import DataError, one_line
from causalopt.output import writing

Order = Literal["AB", "BA"]
ORDERS: tuple[Order, Order] = ("AB", "BA")
"""Which text was shown first."""


class Asked(NamedTuple):
    """One presentation of a pair: the question's name, the position of the pair, and the order of its texts."""

    question: str
    pair: int
    order: Order


class Answer(NamedTuple):
    """The preference for the text that was shown first, from 0 to 1 (None: cannot be read), and the raw answer."""

    first: float | None
    raw: str


class AnswerFile:
    r"""JSON Lines of answers, appended to one by one.

    A last line that a crash left unfinished is removed; everything before it stays.

    Parameters
    ----------
    path:
        The file; it need not exist.
    pairs:
        Number of pairs that can be asked about.

    Attributes
    ----------
    answers:
        What has been answered.

    Raises
    ------
    DataError
        If a line is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from causalopt.judges.answers import Answer, AnswerFile, Asked
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "answers.jsonl"
    ...     AnswerFile(path, pairs=1).add(Asked("outcome", 0, "AB"), Answer(1.0, "A"))
    ...     AnswerFile(path, pairs=1).answers[Asked("outcome", 0, "AB")]
    Answer(first=1.0, raw='A')
    """

    def __init__(self, path: Path, pairs: int) -> None:
        self.path, self.pairs = path, pairs
        self.answers: dict[Asked, Answer] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with writing(path):
                os.truncate(path, len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            asked, answer = self._read(line, number)
            if asked in self.answers:
                raise DataError(f"{path}: line {number}: {asked} was answered before; remove one of the two lines")
            self.answers[asked] = answer

    def add(self, asked: Asked, answer: Answer) -> None:
        """Append an answer; it is on disk when this returns.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        written = {**asked._asdict(), "first": answer.first, "answer": answer.raw}
        # Not as UTF-8: a model may answer with half a surrogate pair, which UTF-8 cannot hold.
        rest = memoryview((json.dumps(written) + "\n").encode("ascii"))
        with writing(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.answers[asked] = answer

    def _read(self, line: bytes, number: int) -> tuple[Asked, Answer]:
        try:
            found = json.loads(line)
            asked = Asked(found["question"], found["pair"], found["order"])
            answer = Answer(found["first"], found["answer"])
            if not isinstance(asked.question, str) or asked.order not in ORDERS or not isinstance(answer.raw, str):
                raise ValueError("a value is of the wrong kind")
            if type(asked.pair) is not int or not 0 <= asked.pair < self.pairs:
                raise ValueError(f"there is no pair {asked.pair!r}")
            if not is_preference(answer.first):
                raise ValueError("'first' is neither null nor a number from 0 to 1")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{self.path}: line {number} is not an answer ({one_line(error)}); remove the line, and it is asked "
                "again"
            ) from None
        return asked, answer


def is_preference(value: object) -> bool:
    """Whether a value is None or a number from 0 to 1."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)
