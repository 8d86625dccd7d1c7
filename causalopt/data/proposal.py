"""Roles for the columns of a table that nobody has described, each with the reason for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.covariate_kinds import FEWEST_NAMES, NAMES, as_dates
from causalopt.data.logs.log import ROLES, Log
from causalopt.data.messages import is_conversation, split_messages
from causalopt.data.numerals import read_numerals
from causalopt.data.outcome_words import propose_map
from causalopt.data.shape import nested_names, with_nested
from causalopt.errors import DataError

NAMES_OF: dict[str, str] = {
    "text": r"(the )?(text|completion|response|answer|reply|output|message|content|headline|post|tweet|body|argument)",
    "prompt": r"(the )?(prompt|question|query|instruction|context|input)",
    "outcome": r"(.*\b)?(outcome|ratings?|score|label|reward|feedback|thumbs?|resp|response|vote|clicks?|clicked|ctr|"
    r"like|liked|helpful|persuasive|quality|satisfaction|donation|y|target|value)(\b.*)?|how .*|.*\d+ ?- ?\d+.*",
    "reader": r"(reader|user|respondent|participant|worker|rater|annotator|subject|rid|person)([ _]?id)?|"
    r"response[ _]?id",
    "weight": r"(weight|weights|exposure|impressions|views)",
    "behavior_log_prob": r"(.*_)?(log_?prob|log_?p|log_?q|logprobs?)(_.*)?",
    "time": r"(.*_)?(time|date|timestamp|created_at|recorded|at)(_.*)?",
}
"""Usual names of the columns of each role, in lower case."""
FEWEST_WORDS = 2
"""Words that a text has on average."""
FEWEST_REPEATED = 5
"""Texts with several readings from which it is seen what belongs to the text and not to its reader."""
SHARE_FIXED = 0.95
SAME_BY_TEXT = "it is the same in all readings of a text, so that it belongs to the text and not to its reader"
RATERS = re.compile(r"(.*?)[ _.]?(\d+)")


@dataclass(frozen=True)
class Proposal:
    """Settings of ``data`` for a table, and the reason for each column's role, or for its being left out.

    Attributes
    ----------
    settings:
        As in the section ``data`` of a configuration.
    reasons:
        By column.
    missing:
        Roles that a configuration needs and no column seems to have.
    """

    settings: dict[str, Any]
    reasons: dict[str, str]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    """What the cells of a column are."""

    name: str
    cells: pd.Series
    words: float
    distinct: int
    numbers: np.ndarray | None
    scale: Mapping[str, float] | None
    filled: int
    kind: str = field(default="")

    @classmethod
    def of(cls, name: str, cells: pd.Series) -> _Column:
        filled = [cell for cell in cells if not _is_empty(cell)]
        strings = [cell for cell in filled if isinstance(cell, str)]
        kind = "objects" if any(isinstance(cell, list | dict | np.ndarray) for cell in filled) else "words"
        if filled and all(map(is_conversation, filled)):
            kind = "messages"
        written = None if kind != "words" else read_numerals([None if _is_empty(cell) else cell for cell in cells])
        distinct = 0 if kind == "objects" else len({str(cell) for cell in filled})
        scale = propose_map(set(strings)) if written is None and strings and len(strings) == len(filled) else None
        if written is not None:
            kind = "numbers"
        elif strings and as_dates([None if _is_empty(cell) else cell for cell in cells]) is not None:
            kind = "dates"
        words = float(np.mean([len(cell.split()) for cell in strings])) if strings else 0.0
        return cls(name, cells, words, distinct, None if written is None else written.numbers, scale, len(filled), kind)

    @property
    def names_rows(self) -> bool:
        return self.kind == "words" and self.filled >= FEWEST_NAMES and self.distinct > NAMES * self.filled

    def is_called(self, role: str) -> bool:
        return re.fullmatch(NAMES_OF[role], self.name.strip().lower()) is not None


def propose(frame: pd.DataFrame, given: Mapping[str, Any], source: str) -> Proposal:
    """Propose a role for every column.

    Parameters
    ----------
    frame:
        As a reader of `causalopt.data.files` returns it.
    given:
        Roles that are known: a column by role, or several for covariates.
    source:
        Name of the table in messages.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.proposal import propose
    >>> frame = pd.DataFrame({"message": ["please give", "give now"], "age": [20, 30], "liked": ["yes", "no"]})
    >>> propose(frame, {}, "frame").settings
    {'text': 'message', 'outcome': 'liked', 'outcome_map': {'no': 0.0, 'yes': 1.0}, 'covariates': ['age']}
    """
    if not len(frame):
        raise DataError(f"{source}: has no rows")
    top = set(map(str, frame.columns))
    frame = with_nested(frame, nested_names(frame))
    columns = [_Column.of(str(name), frame[name]) for name in frame.columns]
    taken: dict[str, str] = {}
    reasons: dict[str, str] = {}

    def take(role: str, column: _Column, reason: str) -> None:
        taken[role] = column.name
        reasons[column.name] = reason

    def free() -> list[_Column]:
        return [column for column in columns if column.name not in taken.values()]

    for role, name in given.items():
        known = next((column for column in columns if column.name == name), None)
        if known is None:
            raise DataError(f"{source}: there is no column {name!r}; there are: {', '.join(map(str, frame.columns))}")
        take(role, known, "named by you")
    raters = [] if "outcome" in taken else _raters(columns)
    _propose_texts(free, taken, take)
    for role in ("reader", "weight", "behavior_log_prob", "time"):
        found = next((column for column in free() if column.is_called(role) and _suits(role, column)), None)
        if role not in taken and found is not None:
            take(role, found, f"its name is that of a {_WORDS[role]}")
    of_text = _properties_of_texts(*_read_messages(frame, taken, source))
    _propose_outcome(free, taken, take, raters, of_text, top)
    settings: dict[str, Any] = {role: taken[role] for role in _ORDER if role in taken}
    outcome = next((column for column in columns if column.name == taken.get("outcome")), None)
    if outcome is not None and outcome.numbers is None and outcome.scale is not None:
        settings["outcome_map"] = dict(outcome.scale)
    wide = raters if "outcome" not in taken else []
    if wide:
        settings |= {"outcome": "rating", "wide": {"raters": wide}}
        reasons |= dict.fromkeys(wide, "one of several raters: its cells become rows")
    covariates: list[str] = []
    for column in free():
        if column.name in wide:
            continue
        reason = SAME_BY_TEXT if column.name in of_text else _no_covariate(column)
        equal = next((name for name in covariates if frame[name].tolist() == frame[column.name].tolist()), None)
        if equal is not None:
            reason = f"it is equal to {equal}"
        reasons[column.name] = f"left out: {reason}" if reason else f"a covariate: {_describe(column)}"
        if not reason:
            covariates.append(column.name)
    if covariates:
        settings["covariates"] = covariates
    missing = tuple(role for role in ("text", "outcome") if role not in settings)
    return Proposal(settings, {name: reasons[name] for name in map(str, frame.columns) if name in reasons}, missing)


def propose_log(log: Log, given: Mapping[str, Any], source: str, tool: str) -> Proposal:
    """Propose roles for a feedback log: texts that nobody rated are kept, and feedback is no covariate.

    Of several kinds of feedback, the outcome must be named.
    """
    roles = {role: role for role in ROLES if role in log.frame and log.frame[role].notna().any()}
    if "logger" in roles and log.frame["logger"].nunique() < 2:
        del roles["logger"]
    if len(log.scores) == 1:
        roles["outcome"] = log.scores[0]
    roles |= given
    found = propose(log.frame, roles, source)
    settings = {"format": tool, **found.settings}
    if "outcome" not in roles:
        settings.pop("outcome", None)
    elif log.frame[roles["outcome"]].isna().any():
        settings["on_missing"] = "model"
    covariates = [name for name in settings.pop("covariates", []) if name not in (*log.scores, "time")]
    if covariates:
        settings["covariates"] = covariates
    missing = tuple(role for role in ("text", "outcome") if role not in settings)
    by_export = set(roles.values()) - set(given.values())
    reasons = {name: "the export says so" if name in by_export else why for name, why in found.reasons.items()}
    return Proposal(settings, reasons, missing)


def among_variants(found: Proposal, column: str, frame: pd.DataFrame, source: str) -> Proposal:
    """Turn a proposal about texts into one about variants: what is chosen are the values of a column.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.proposal import among_variants, propose
    >>> rows = {"model": ["small", "large"] * 20, "answer": [f"answer {i}" for i in range(40)], "liked": [0, 1] * 20}
    >>> frame = pd.DataFrame(rows)
    >>> among_variants(propose(frame, {}, "frame"), "model", frame, "frame").settings
    {'text': 'model', 'outcome': 'liked'}

    Raises
    ------
    DataError
        If there is no such column, or if it has one value, or nearly one for each row.
    """
    if column not in frame:
        raise DataError(f"{source}: there is no column {column!r}; there are: {', '.join(map(str, frame.columns))}")
    count, rows = frame[column].nunique(), int(frame[column].notna().sum())
    if count < 2 or count * FEWEST_REPEATED > rows:
        raise DataError(
            f"{source}: column {column!r} has {count:,} values in {rows:,} rows; variants are two or more, with "
            f"{FEWEST_REPEATED} rows each on average"
        )
    dropped = {role: found.settings[role] for role in _OF_TEXTS if role in found.settings}
    kept = {name: value for name, value in found.settings.items() if name not in _OF_TEXTS and value != column}
    covariates = [name for name in kept.pop("covariates", []) if name != column]
    settings = {**({"format": kept.pop("format")} if "format" in kept else {}), "text": column, **kept}
    if covariates:
        settings["covariates"] = covariates
    beside = f"left out: the choice is among the values of {column}, whatever was written"
    reasons = {**found.reasons, **dict.fromkeys(dropped.values(), beside)}
    reasons[column] = f"{count:,} variants to choose among"
    return Proposal(settings, reasons, tuple(role for role in found.missing if role != "text"))


_OF_TEXTS = ("text", "prompt", "logger", "behavior_log_prob")
"""Roles that describe texts and who wrote them."""
_ORDER = ("text", "prompt", "outcome", "reader", "group", "logger", "weight", "behavior_log_prob", "time")
_WORDS = {
    "reader": "reader",
    "weight": "weight (impressions behind a rate)",
    "behavior_log_prob": "logged log-probability",
    "time": "time",
}


def _read_messages(frame: pd.DataFrame, taken: Mapping[str, str], source: str) -> tuple[pd.DataFrame, str | None]:
    """Return the table with strings in place of messages, and its column of texts."""
    text = taken.get("text")
    if text is None:
        return frame, None
    return split_messages(frame, text, taken.get("prompt"), source)[0], text


def _propose_texts(free: Any, taken: dict[str, str], take: Any) -> None:
    spoken = [column for column in free() if column.kind == "messages"]
    answers = [column for column in spoken if not column.is_called("prompt")]
    if "text" not in taken and answers:
        take(
            "text",
            answers[0],
            "it holds messages: the last one, of the assistant, is the text, and all before it the prompt",
        )
    if "prompt" not in taken:
        asked = next((column for column in spoken if column.is_called("prompt")), None)
        if asked is not None:
            take("prompt", asked, "its name is that of a prompt, and it holds messages")
    readable = [column for column in free() if column.kind == "words" and column.words >= FEWEST_WORDS]
    if "prompt" not in taken:
        asked = next((column for column in readable if column.is_called("prompt")), None)
        if asked is not None and (len(readable) > 1 or "text" in taken):
            take("prompt", asked, f"its name is that of a prompt, and it has {asked.words:.0f} words a cell")
    readable = [column for column in readable if column.name not in taken.values() and column.scale is None]
    if "text" not in taken and readable:
        named = [column for column in readable if column.is_called("text")]
        chosen = max(named or readable, key=lambda column: column.words)
        why = "its name is that of a text" if named else "it has the most words a cell"
        take("text", chosen, f"{why} ({chosen.words:.0f} words, {chosen.distinct:,} different texts)")


def _propose_outcome(
    free: Any, taken: dict[str, str], take: Any, raters: Sequence[str], of_text: Collection[str], top: Collection[str]
) -> None:
    if "outcome" in taken:
        return
    able = [column for column in free() if _can_be_outcome(column) and column.name not in of_text]
    named = [column for column in able if column.is_called("outcome")]
    if raters and not [column for column in named if column.name not in raters]:
        return
    scales = [column for column in able if column.scale is not None]
    able = [column for column in able if column.distinct > 1]
    for found, why in ((named, "its name is that of an outcome"), (scales, "its words are a scale")):
        if found:
            chosen = max(found, key=lambda column: column.name in top)  # the first of its own, before one in an object
            take("outcome", chosen, f"{why}: {_describe(chosen)}")
            return
    if len(able) == 1:
        take("outcome", able[0], f"it is the only column of numbers: {_describe(able[0])}")


def _can_be_outcome(column: _Column) -> bool:
    if column.is_called("behavior_log_prob") or column.is_called("weight"):
        return False
    return column.numbers is not None or column.scale is not None


def _raters(columns: Sequence[_Column]) -> list[str]:
    """Columns of numbers whose names differ in a number alone, two or more, with the same range of few values."""
    stems: dict[str, list[str]] = {}
    for column in columns:
        match = RATERS.fullmatch(column.name)
        if match and column.numbers is not None and column.distinct <= 11:
            stems.setdefault(match[1], []).append(column.name)
    found = max(stems.values(), key=len, default=[])
    return found if len(found) > 1 else []


def _properties_of_texts(frame: pd.DataFrame, text: str | None) -> set[str]:
    """Columns that never differ between the readings of a text, where enough texts have several."""
    if text is None:
        return set()
    cells = frame.map(lambda cell: None if _is_empty(cell) else str(cell))
    repeated = cells[cells.duplicated(text, keep=False)]
    if repeated[text].nunique() < FEWEST_REPEATED:
        return set()
    values = repeated.groupby(text).nunique()
    fixed = {str(name) for name in values.columns if (values[name] <= 1).mean() >= SHARE_FIXED}
    return fixed - {str(name) for name in cells.columns if cells[name].nunique() < 2}


def _suits(role: str, column: _Column) -> bool:
    if role == "behavior_log_prob":
        return column.numbers is not None and bool(np.nanmax(column.numbers) <= 0)
    if role == "weight":
        return column.numbers is not None and bool(np.nanmin(column.numbers) > 0)
    if role == "time":
        return column.kind == "dates"
    return column.kind in ("words", "numbers")


def _no_covariate(column: _Column) -> str | None:
    if column.kind in ("objects", "messages"):
        return "its cells are lists or objects"
    if column.is_called("outcome"):
        return "its name is that of an outcome, and a response is no cause of what was shown"
    if column.distinct < 2:
        return "it is constant"
    if column.names_rows:
        return f"{column.distinct:,} values in {column.filled:,} rows name the rows"
    if column.kind == "words" and column.words > 2 * FEWEST_WORDS:
        return "it is text"
    return None


def _describe(column: _Column) -> str:
    if column.numbers is not None:
        return f"numbers from {np.nanmin(column.numbers):.6g} to {np.nanmax(column.numbers):.6g}"
    if column.kind == "dates":
        return "dates"
    if column.scale is not None:
        return ", ".join(f"{word} = {value:g}" for word, value in column.scale.items())
    return f"{column.distinct:,} categories"


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float) and cell != cell)
