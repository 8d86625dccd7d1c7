"""Asking a judge about each pair in both orders, and only what has not been answered yet."""

from __future__ import annotations

from collections.abc import Sequence

from causalopt.errors import ModelError
from causalopt.judges.answers import ORDERS, Answer, AnswerFile, Asked, is_preference
from causalopt.judges.contracts import Judge, Pair
from causalopt.judges.questions import Question
from causalopt.progress import track
from causalopt.signatures import shown


def ask(judge: Judge, pairs: Sequence[Pair], question: Question, kept: AnswerFile) -> None:
    """Ask a judge about each pair in both orders, and keep every answer as soon as it is there.

    A pair of equal texts is not asked: it is a tie.

    Parameters
    ----------
    judge:
        Asked in one call about everything that ``kept`` does not hold.
    pairs:
        With A's text first.
    question:
        One question.
    kept:
        Receives the answers.

    Raises
    ------
    DataError, ModelError
        As the judge raises them, or if its preferences are not one for each pair.
    """
    different = [i for i, pair in enumerate(pairs) if pair.first != pair.second]
    waiting = [
        asked for i in different for order in ORDERS if (asked := Asked(question.name, i, order)) not in kept.answers
    ]
    if not waiting:
        return
    presented = [_presented(pairs[asked.pair], asked) for asked in waiting]
    for found in track(judge.compare(presented, question), f"asking about {question.name}", total=len(waiting)):
        if type(found.pair) is not int or not 0 <= found.pair < len(waiting):
            raise ModelError(f"the judge answers about pair {shown(found.pair)} of {len(waiting)}; mend the judge")
        if not is_preference(found.first) or not isinstance(found.answer, str):
            raise ModelError(
                f"the judge prefers with {shown(found.first)}, and answers {shown(found.answer)}: a preference is None "
                "or a number from 0 to 1, and an answer is a string; mend the judge"
            )
        if waiting[found.pair] in kept.answers:
            raise ModelError(f"the judge answers twice about pair {found.pair}; mend the judge")
        first = None if found.first is None else float(found.first)
        kept.add(waiting[found.pair], Answer(first, found.answer))
    missing = sum(asked not in kept.answers for asked in waiting)
    if missing:
        raise ModelError(f"the judge has not answered about {missing} of {len(waiting)} pairs; mend the judge")


def _presented(pair: Pair, asked: Asked) -> Pair:
    return pair if asked.order == "AB" else Pair(pair.prompt, pair.second, pair.first)
