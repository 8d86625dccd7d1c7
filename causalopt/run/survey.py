"""A survey of human raters, read from a table: win rates, majority votes, agreement, and a judge beside the raters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from causalopt.data import files
from causalopt.data.shape import RATER, long_of, with_nested
from causalopt.diagnostics.agreement import Agreement, Scale, agreement
from causalopt.doors import check_number
from causalopt.errors import ConfigError, DataError
from causalopt.evaluation.preferences import Correlation, correlations, majority, win_rates, worth_for_a
from causalopt.suggestion import did_you_mean
from causalopt.typing import Float64


@dataclass(frozen=True, eq=False)
class SurveyColumns:
    """Columns of a survey.

    Attributes
    ----------
    item, rater, answer:
        Of a table with a row for each answer. ``item`` may be None in one with a column for each rater: then each row
        is an item.
    raters:
        Columns of raters, whose cells are answers; None for a table with a row for each answer.
    system_a, system_b:
        The systems whose texts were compared, if answers say which of two is preferred; None for A and B throughout.
    judge:
        A judge's score of each item, or its preference.
    """

    item: str | None = None
    rater: str = "rater"
    answer: str = "answer"
    raters: tuple[str, ...] | None = None
    system_a: str | None = None
    system_b: str | None = None
    judge: str | None = None


@dataclass(frozen=True, eq=False)
class Survey:
    """Results on a survey.

    Attributes
    ----------
    answers, items, raters:
        Their numbers.
    wins:
        From `win_rates`; None if the answers are no preferences.
    majority:
        From `causalopt.evaluation.preferences.majority`.
    agreement:
        From `causalopt.diagnostics.agreement.agreement`.
    judge:
        Correlations of the judge with the raters; empty without a judge.
    level:
        Level of the intervals.
    """

    answers: int
    items: int
    raters: int
    wins: pd.DataFrame | None
    majority: pd.DataFrame
    agreement: Agreement
    judge: list[Correlation]
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a number that is not defined becomes None."""
        return {
            "answers": self.answers,
            "items": self.items,
            "raters": self.raters,
            "level": self.level,
            "win_rates": None if self.wins is None else _records(self.wins),
            "agreement": _records(self.agreement.table),
            "not_computed": self.agreement.left_out,
            "judge": _records(pd.DataFrame(self.judge, columns=list(Correlation._fields))),
            "majority": _records(self.majority),
        }


def survey(path: Path, columns: SurveyColumns, *, scale: str | None = None, level: float = 0.95) -> Survey:
    """Read a survey and evaluate it.

    Parameters
    ----------
    path:
        A table that `causalopt.data.files.read_table` reads, with a row for each answer or a column for each rater.
    columns:
        Its columns.
    scale:
        "nominal", "ordinal" or "interval"; None takes "interval" for numbers, and "nominal" for words.
    level:
        Level of the intervals.

    Raises
    ------
    DataError
        If a column is missing, a rater answered an item twice, there are no answers or those of a single rater, or all
        of them are ties.
    ConfigError
        On settings that do not go together.
    """
    check_number("survey: level", level, above=0, below=1)
    source = str(path)
    if (columns.system_a is None) != (columns.system_b is None):
        raise ConfigError("survey: name both systems, with --system-a and --system-b, or neither")
    frame = files.read_table(path)
    long = _long(frame, columns, source)
    worth = worth_for_a(long["answer"].tolist())
    if columns.system_a is not None and worth is None:
        odd = next(one for one in long["answer"] if worth_for_a([one]) is None)
        raise DataError(f"{source}: column {columns.answer!r}: {odd!r} is no preference: write A, B or tie")
    if worth is not None and (worth == 0.5).all():
        raise DataError(f"{source}: all {len(worth)} answers are ties, so that there is no win rate")
    values = _preferred(long, worth) if worth is not None else _values(long["answer"])
    long = long.assign(value=values)
    answers = long.pivot_table(
        index="item", columns="rater", values="value", aggfunc="first", sort=False, observed=True
    )
    numeric = worth is None and pd.api.types.is_numeric_dtype(values)
    chosen = cast(Scale, scale or ("interval" if numeric else "nominal"))
    try:
        found = agreement(answers, chosen, level=level)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    wins = None
    if worth is not None:
        a, b = (long[name] if name in long else pd.Series(name.upper(), long.index) for name in ("a", "b"))
        wins = win_rates(long.assign(worth=worth, a=a, b=b), level)
    return Survey(
        answers=len(long),
        items=len(answers),
        raters=answers.shape[1],
        wins=wins,
        majority=majority(answers),
        agreement=found,
        judge=[] if columns.judge is None else _judged(long, worth, columns.judge, source, level),
        level=level,
    )


def _long(frame: pd.DataFrame, columns: SurveyColumns, source: str) -> pd.DataFrame:
    """Return a row for each answer: item, rater, answer, and a, b and judge where there are such columns."""
    if not len(frame):
        raise DataError(f"{source}: has no rows")
    item, rater, answer = columns.item, columns.rater, columns.answer
    if columns.raters is not None:
        if item is None:
            item = "\0item"
            frame = frame.assign(**{item: np.arange(1, len(frame) + 1)})
        _check_columns(frame, [item, *columns.raters], source)
        frame = long_of(frame, columns.raters, answer, source)
        rater = RATER
    elif item is None:
        item = "item"
    frame = with_nested(frame, [rater, answer])
    named = {"item": item, "rater": rater, "answer": answer, "a": columns.system_a, "b": columns.system_b}
    named["judge"] = columns.judge
    wanted = {role: column for role, column in named.items() if column is not None}
    _check_columns(frame, list(wanted.values()), source)
    long = pd.DataFrame({role: frame[column] for role, column in wanted.items()})
    empty = long["answer"].isna() | long["answer"].map(lambda cell: isinstance(cell, str) and not cell.strip())
    if empty.all():
        raise DataError(f"{source}: column {answer!r} holds no answer in any of its {len(long)} rows")
    long = long[~empty]
    for role in ("item", "rater", "a", "b"):
        if role in long:
            missing = long[role].isna()
            if missing.any():
                row = int(long.index[int(missing.to_numpy().argmax())]) + 1
                raise DataError(f"{source}: column {wanted[role]!r}, row {row} is empty: every answer needs one")
    if "a" in long:
        long = long.assign(a=long["a"].map(str), b=long["b"].map(str))
        same = (long["a"] == long["b"]).to_numpy()
        if same.any():
            raise DataError(f"{source}: row {int(long.index[int(same.argmax())]) + 1} compares a system with itself")
        keys = ["item", "rater", "a", "b"]
    else:
        keys = ["item", "rater"]
    twice = long.duplicated(keys).to_numpy()
    if twice.any():
        rater, item = (long[role].iloc[int(twice.argmax())] for role in ("rater", "item"))
        raise DataError(
            f"{source}: rater {rater!r} answered item {item!r} twice: keep one answer, or name the items apart"
        )
    if "a" in long:  # each pair of systems on an item is compared on its own
        pair = [" and ".join(sorted(both)) for both in zip(long["a"], long["b"], strict=True)]
        if long.assign(pair=pair).groupby("item")["pair"].nunique().max() > 1:
            long = long.assign(item=[f"{one}: {which}" for one, which in zip(long["item"], pair, strict=True)])
    if long["rater"].nunique() < 2:
        raise DataError(f"{source}: has one rater, {long['rater'].iloc[0]!r}: a survey needs at least two")
    return long.reset_index(drop=True)


def _check_columns(frame: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    for column in columns:
        if column not in frame.columns:
            names = ", ".join(str(name) for name in frame.columns if not str(name).startswith("\0"))
            hint = did_you_mean(column, frame.columns)
            raise DataError(f"{source}: there is no column {column!r}{hint}; there are: {names}")
        if isinstance(frame[column], pd.DataFrame):
            raise DataError(f"{source}: there are several columns {column!r}; rename all but one")


def _preferred(long: pd.DataFrame, worth: Float64) -> pd.Series:
    """Return what each answer prefers: a system, A or B, or "tie"; the same whichever text was shown first."""
    a = long["a"] if "a" in long else pd.Series("A", long.index)
    b = long["b"] if "b" in long else pd.Series("B", long.index)
    return pd.Series(np.where(worth == 1, a, np.where(worth == 0, b, "tie")), long.index, dtype=object)


def _values(answers: pd.Series) -> pd.Series:
    """Answers as numbers if all are, else as words."""
    try:
        return answers.map(files.number).astype(np.float64)
    except ValueError:
        return answers.map(lambda cell: str(cell).strip()).astype(object)


def _judged(long: pd.DataFrame, worth: Float64 | None, column: str, source: str, level: float) -> list[Correlation]:
    human = pd.Series(worth, long.index) if worth is not None else long["value"]
    if not pd.api.types.is_numeric_dtype(human):
        raise DataError(f"{source}: a judge is correlated with numbers or preferences, and the answers are words")
    told = long["judge"]
    known = told.notna()
    said = worth_for_a(told[known].tolist())
    try:
        judge = pd.Series(said if said is not None else told[known].map(files.number), told.index[known], dtype=float)
    except ValueError as error:
        raise DataError(f"{source}: column {column!r}: {error}") from None
    if "a" in long and worth is not None:  # towards the first system by name, whichever was shown first
        swapped = long["a"] > long["b"]
        human = human.where(~swapped, 1 - human)
        if said is not None:
            judge = judge.where(~swapped[known], 1 - judge)
    both = pd.DataFrame({"item": long["item"], "human": human, "judge": judge}).dropna()
    means = both.groupby("item", sort=False)[["human", "judge"]].mean()
    try:
        return correlations(means["human"], means["judge"], level)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
