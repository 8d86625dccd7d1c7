"""Checks of judges."""

from __future__ import annotations

import json
from collections.abc import Callable

from causalopt.judges.answers import is_preference
from causalopt.judges.contracts import Judge, Pair, Preference
from causalopt.judges.questions import COHERENT, NAMES, Question

PAIRS = [
    Pair("Write a line.", "Please give today.", "Give."),
    Pair("Write a line.", "Give.", "Please give today."),
    Pair("Ask for help.", "We need help: please come.", "Come, please, all of you, and help us now."),
    Pair("Ask for help.", "Same.", "Same."),
]


def check_judge(make: Callable[[], Judge], *, repeatable: bool = True) -> None:
    """Check a judge against its contract (`causalopt.judges.contracts.Judge`).

    The check covers the questions and the identity, one preference from 0 to 1 (or None) and one raw answer for each
    pair, pairs with and without prompts, no pairs at all, and two judges that say the same.

    Parameters
    ----------
    make:
        Called without arguments, it returns a judge.
    repeatable:
        Whether the same pairs get the same preferences, up to 1e-4, when they are asked again.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> import json
    >>> from causalopt.judges.contracts import Preference
    >>> from causalopt.testing import check_judge
    >>> class Longer:
    ...     questions, identity = ("outcome",), {}
    ...     def compare(self, pairs, question):
    ...         for i, pair in enumerate(pairs):
    ...             sizes = len(pair.first), len(pair.second)
    ...             yield Preference(i, 0.5 if sizes[0] == sizes[1] else float(sizes[0] > sizes[1]), json.dumps(sizes))
    >>> check_judge(Longer)
    """
    judge = make()
    name = type(judge).__name__
    assert isinstance(judge, Judge), f"{name} lacks questions, identity or compare"
    asked = tuple(judge.questions)
    assert asked, f"{name}.questions is empty"
    assert set(asked) <= set(NAMES), f"{name}.questions holds {asked}, and there are: {', '.join(NAMES)}"
    try:
        identity = json.dumps(dict(judge.identity), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{name}.identity is not JSON ({error})") from None
    again = json.dumps(dict(make().identity), sort_keys=True)
    assert identity == again, f"{name}.identity differs between two judges that were made alike"
    without = [pair._replace(prompt=None) for pair in PAIRS]
    for one in asked:
        question = Question(one, COHERENT)
        assert list(judge.compare([], question)) == [], f"{name}.compare yields preferences about no pairs"
        found = _compared(judge, PAIRS, question)
        _compared(judge, without, question)
        if repeatable:
            for answer in (_compared(judge, PAIRS, question), _compared(make(), PAIRS, question)):
                same = all(_alike(*two) for two in zip(found, answer, strict=True))
                assert same, f"{name}: the same pairs get other preferences when they are asked again"


def _compared(judge: Judge, pairs: list[Pair], question: Question) -> list[Preference]:
    name = type(judge).__name__
    found = list(judge.compare(pairs, question))
    for one in found:
        assert isinstance(one, Preference), f"{name}.compare yields {one!r}, which is no Preference"
        assert is_preference(one.first), f"{name}: a preference is {one.first!r}, neither None nor between 0 and 1"
        assert isinstance(one.answer, str), f"{name}: a raw answer is {one.answer!r}, not a string"
    about = sorted(one.pair for one in found)
    assert about == list(range(len(pairs))), f"{name}.compare answers about {about}, asked about {len(pairs)} pairs"
    return sorted(found, key=lambda one: one.pair)


def _alike(one: Preference, other: Preference) -> bool:
    if one.first is None or other.first is None:
        return one.first is other.first
    return abs(one.first - other.first) < 1e-4
