"""From a judge's answers to the win rate of B over A, its interval, and the judge's bias for a position."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from causalopt.arrays import as_codes
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.judges.answers import ORDERS, Answer, Asked
from causalopt.judges.contracts import Pair
from causalopt.typing import Float64, Int64


@dataclass(frozen=True, eq=False)
class WinRate:
    """What the answers about some pairs come to.

    Attributes
    ----------
    wins, ties, losses, undecided:
        Numbers of pairs that B wins, that are ties, that B loses, and that have an answer that cannot be read. The last
        take part in no estimate.
    identical:
        Ties among these whose two texts are equal, which no judge was asked about.
    value:
        Share of pairs that B wins, ties counted half; nan if no pair is decided.
    win_rate:
        The same with its error; None if there are fewer than two clusters, which give none.
    preference:
        Mean strength of the preference for B, from 0 to 1, over both orders; likewise.
    first_position:
        Share of answers for the text that was shown first, no preference counted half; likewise. It is 0.5 for a judge
        that does not favour a position.
    bounds:
        The win rate if B had lost, and if it had won, every undecided pair.
    unreadable, answers:
        Number of answers that cannot be read, and of all answers.
    clustered_by:
        ``prompt``, ``text`` or ``pair``.
    clusters:
        Number of clusters; the smaller with texts of A and of B.
    """

    wins: int
    ties: int
    losses: int
    undecided: int
    identical: int
    value: float
    win_rate: Estimate | None
    preference: Estimate | None
    first_position: Estimate | None
    bounds: tuple[float, float]
    unreadable: int
    answers: int
    clustered_by: str
    clusters: int


def win_rate(pairs: Sequence[Pair], for_first: Any) -> WinRate:
    """Compute the win rate of B over A from the preferences of both orders.

    An order votes for a text if it is preferred by more than 0.5, and for neither at 0.5. B wins a pair if the votes of
    both orders add up for it; votes that contradict each other are a tie. The mean over pairs is clustered by prompt;
    where there are no prompts, or one alone, by A's text and by B's text (two-way), since a text that is in several
    pairs makes them alike.

    Parameters
    ----------
    pairs:
        The n pairs, with A's text first.
    for_first:
        Preference for the text that was shown *first*, shape [n, 2]: A first, then B first; nan if the answer cannot be
        read. Those of a pair of equal texts are ignored.

    Returns
    -------
    WinRate

    Raises
    ------
    DataError
        If the shapes differ, or a preference is outside of [0, 1].

    Examples
    --------
    B wins the first pair in both orders and the second in neither; the third answer is always "the first text".

    >>> from causalopt.judges.contracts import Pair
    >>> from causalopt.judges.win_rate import win_rate
    >>> pairs = [Pair(f"prompt {i}", "a", "b") for i in range(3)]
    >>> found = win_rate(pairs, [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> found.wins, found.ties, found.losses, found.value
    (1, 1, 1, 0.5)
    >>> round(found.first_position.value, 3)
    0.667
    """
    shown = np.asarray(for_first, dtype=np.float64).reshape(-1, len(ORDERS))
    if len(shown) != len(pairs):
        raise DataError(f"there are preferences about {len(shown)} pairs, and {len(pairs)} pairs")
    if np.any((shown < 0) | (shown > 1)):
        raise DataError("a preference must lie between 0 and 1")
    identical = np.array([pair.first == pair.second for pair in pairs], dtype=bool)
    for_b = np.stack([1 - shown[:, 0], shown[:, 1]], axis=1)
    for_b[identical] = 0.5
    decided = np.asarray(~np.isnan(for_b).any(axis=1))
    verdict = _vote(_vote(for_b[decided]).mean(axis=1))
    by, cluster = _clusters([pair for pair, known in zip(pairs, decided.tolist(), strict=True) if known])
    asked = np.repeat(~identical[:, None], len(ORDERS), axis=1)
    read = asked & ~np.isnan(shown)
    of_all = _clusters(pairs)[1] or (np.arange(len(pairs)),)
    least = float(verdict.sum()) / len(pairs) if pairs else math.nan
    return WinRate(
        wins=int((verdict == 1).sum()),
        ties=int((verdict == 0.5).sum()),
        losses=int((verdict == 0).sum()),
        undecided=int((~decided).sum()),
        identical=int(identical.sum()),
        value=float(verdict.mean()) if len(verdict) else math.nan,
        win_rate=_mean(verdict, cluster, "win_rate"),
        preference=_mean(for_b[decided].mean(axis=1), cluster, "preference"),
        # Both answers about a pair are in its cluster.
        first_position=_mean(_vote(shown[read]), tuple(codes[np.nonzero(read)[0]] for codes in of_all), "first"),
        bounds=(least, least + float((~decided).mean()) if pairs else math.nan),
        unreadable=int((asked & ~read).sum()),
        answers=int(asked.sum()),
        clustered_by=by,
        clusters=min((len(set(codes.tolist())) for codes in cluster), default=len(verdict)),
    )


def preferences(pairs: Sequence[Pair], answers: Mapping[Asked, Answer], question: str) -> Float64:
    """Return the preferences for the text that was shown first, shape [n, 2], as `win_rate` takes them."""
    found = np.full((len(pairs), len(ORDERS)), np.nan)
    for i in range(len(pairs)):
        for j, order in enumerate(ORDERS):
            answer = answers.get(Asked(question, i, order))
            if answer is not None and answer.first is not None:
                found[i, j] = answer.first
    return found


def _vote(preference: Float64) -> Float64:
    """1, 1/2 or 0: for, for neither, against."""
    return (np.sign(preference - 0.5) + 1) / 2


def _clusters(pairs: Sequence[Pair]) -> tuple[str, tuple[Int64, ...]]:
    """Codes of the pairs in each clustering, and what they are clustered by."""
    n = len(pairs)
    prompts = [pair.prompt or "" for pair in pairs]
    if len(set(prompts)) > 1:
        return "prompt", (as_codes("prompt", prompts, n),)
    texts = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
    ways = tuple(as_codes("text", one, n) for one in texts if len(set(one)) > 1)
    if not ways and n > 1:  # one pair of texts again and again
        return "text", (np.zeros(n, dtype=np.int64),)
    return ("pair", ()) if all(codes.max() == n - 1 for codes in ways) else ("text", ways)


def _mean(values: Float64, cluster: tuple[Int64, ...], name: str) -> Estimate | None:
    """Mean over rows with its clusters; None if there are fewer than two of these."""
    if len(values) < 2 or any(len(set(codes.tolist())) < 2 for codes in cluster):
        return None
    mean = float(values.mean())
    return Estimate(mean, values - mean, cluster_codes(cluster or None, len(values)), estimator=name)
