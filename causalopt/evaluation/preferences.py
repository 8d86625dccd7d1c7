"""Preferences of human raters between texts: win rates, majority votes, and a judge beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.typing import Float64

WORDS = {
    "a": 1.0, "system a": 1.0, "left": 1.0, "first": 1.0, "model_a": 1.0,
    "b": 0.0, "system b": 0.0, "right": 0.0, "second": 0.0, "model_b": 0.0,
    "tie": 0.5, "draw": 0.5, "equal": 0.5, "both": 0.5, "neither": 0.5, "same": 0.5, "tie (bothbad)": 0.5,
}  # fmt: skip
"""What the words of a comparison are worth for A."""


class Correlation(NamedTuple):
    """A correlation over items with its interval."""

    name: str
    value: float
    ci_low: float
    ci_high: float
    items: int


def worth_for_a(answers: Sequence[Any]) -> Float64 | None:
    """Return what each answer is worth for A: 1 if A is preferred, 0.5 for a tie, 0 for B.

    None if they are no preferences.

    Examples
    --------
    >>> from causalopt.evaluation.preferences import worth_for_a
    >>> worth_for_a(["A", "tie", "b"]).tolist(), worth_for_a(["A", "C"])
    ([1.0, 0.5, 0.0], None)
    """
    found = [WORDS.get(one.strip().lower()) if isinstance(one, str) else None for one in answers]
    return None if not found or None in found else np.array(found, dtype=np.float64)


def win_rate(worth: Any, item: Any, rater: Any) -> Estimate:
    """Mean worth for A, clustered by item and by rater, at least two of each.

    Raises
    ------
    DataError
        If all answers are of one item or of one rater.

    Examples
    --------
    >>> from causalopt.evaluation.preferences import win_rate
    >>> found = win_rate([1.0, 0.0, 1.0, 1.0], ["x", "x", "y", "y"], ["ann", "bob", "ann", "bob"])
    >>> found.value, found.clusters
    (0.75, (2, 2))
    """
    values = np.asarray(worth, dtype=np.float64)
    for name, labels in (("item", item), ("rater", rater)):
        if len(set(labels)) < 2:
            raise DataError(f"all answers are of one {name}: an interval of a win rate needs at least two {name}s")
    codes = cluster_codes((np.asarray(item, dtype=object), np.asarray(rater, dtype=object)), len(values))
    value = float(values.mean())
    return Estimate(value, values - value, codes, estimator="win_rate")


def interval(found: Estimate, level: float = 0.95) -> tuple[float, float]:
    """Interval of a win rate, within 0 and 1.

    If all answers agree, their spread says nothing, and the interval is the exact one of as many answers as there are
    items or raters, whichever is fewer (Clopper and Pearson 1934).
    """
    if found.se > 0:
        low, high = found.confint(level)
        return max(low, 0.0), min(high, 1.0)
    count = min(found.clusters)
    exact = stats.binomtest(round(found.value * count), count).proportion_ci(level)
    return float(exact.low), float(exact.high)


def win_rates(frame: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Win rate of each system over each other.

    Parameters
    ----------
    frame:
        Columns ``item``, ``rater``, ``worth`` (for A), ``a`` and ``b`` (the systems).
    level:
        Level of the intervals.

    Returns
    -------
    DataFrame
        One row for each pair of systems: ``system``, ``over``, ``win_rate`` (a tie is half a win), ``ci_low``,
        ``ci_high`` (nan for a single item or rater), ``ties``, ``answers``, ``items``, ``raters``.
    """
    first = frame[["a", "b"]].min(axis=1)
    swapped = frame["a"] != first
    worth = np.where(swapped, 1 - frame["worth"], frame["worth"])
    pairs = frame.assign(first=first, second=frame[["a", "b"]].max(axis=1), worth=worth)
    rows = []
    for (one, other), part in pairs.groupby(["first", "second"], sort=True):
        low, high = np.nan, np.nan
        if min(len(set(part["item"])), len(set(part["rater"]))) > 1:
            low, high = interval(win_rate(part["worth"], part["item"], part["rater"]), level)
        rows.append(
            {
                "system": one,
                "over": other,
                "win_rate": float(part["worth"].mean()),
                "ci_low": low,
                "ci_high": high,
                "ties": float((part["worth"] == 0.5).mean()),
                "answers": len(part),
                "items": int(part["item"].nunique()),
                "raters": int(part["rater"].nunique()),
            }
        )
    return pd.DataFrame(rows)


def majority(answers: pd.DataFrame) -> pd.DataFrame:
    """Majority vote of each item.

    Parameters
    ----------
    answers:
        Shape [items, raters], missing where there is none.

    Returns
    -------
    DataFrame
        ``item``, ``majority`` (None if two answers are equally frequent), ``share`` of the most frequent answer, and
        ``answers``, their number.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.evaluation.preferences import majority
    >>> majority(pd.DataFrame({"ann": ["A", "B"], "bob": ["A", "A"], "cy": ["B", None]}))["majority"].tolist()
    ['A', None]
    """
    rows = []
    for item, row in answers.iterrows():
        counts = row.dropna().value_counts()
        if not len(counts):
            continue
        clear = len(counts) == 1 or counts.iloc[0] > counts.iloc[1]
        share = float(counts.iloc[0] / counts.sum())
        vote = counts.index[0] if clear else None
        rows.append({"item": item, "majority": vote, "share": share, "answers": int(counts.sum())})
    found = pd.DataFrame(rows)
    found["majority"] = pd.Series([row["majority"] for row in rows], dtype=object)
    return found


def correlations(human: Any, judge: Any, level: float = 0.95, seed: int = 0) -> list[Correlation]:
    """Correlate a judge's scores of items with the raters' mean answers.

    Parameters
    ----------
    human, judge:
        One number for each item, shape [n].
    level, seed:
        Of the intervals: Fisher's z for Pearson's r, a percentile bootstrap over items for Spearman's rho.

    Raises
    ------
    DataError
        For fewer than four items, or numbers that are all equal.
    """
    x, y = np.asarray(human, dtype=np.float64), np.asarray(judge, dtype=np.float64)
    if len(x) < 4:
        raise DataError(f"{len(x)} items have both answers and a judge's score: a correlation needs at least four")
    for name, values in (("the raters' mean answers", x), ("the judge's scores", y)):
        if np.ptp(values) == 0:
            raise DataError(f"{name} are equal for all items, so that they correlate with nothing")
    pearson = stats.pearsonr(x, y)
    low, high = pearson.confidence_interval(level)
    found = [Correlation("Pearson's r", float(pearson.statistic), float(low), float(high), len(x))]
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(1000):
        some = rng.integers(0, len(x), len(x))
        if np.ptp(x[some]) > 0 and np.ptp(y[some]) > 0:
            resampled.append(stats.spearmanr(x[some], y[some]).statistic)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    found.append(Correlation("Spearman's rho", float(stats.spearmanr(x, y).statistic), float(low), float(high), len(x)))
    return found
