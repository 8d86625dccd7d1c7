"""Tables with a row for each turn of a conversation: one reading each, whose text is the assistant's last turn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data import validation
from causalopt.data.columns import Columns
from causalopt.data.files import MISSING
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.signatures import shown
from causalopt.suggestion import did_you_mean

SPEAKERS = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "ai": "assistant", "bot": "assistant", "model": "assistant",
    "system": "system", "developer": "developer", "tool": "tool", "function": "tool",
}  # fmt: skip
"""The role of a message by the names that tables give to speakers."""
SENTENCE = (
    "A conversation is one reading: its text is the assistant's last turn, the turns before it are the prompt as they "
    "were, and the outcome at its end is the response. The value is that of a policy which writes the last turn of "
    "such conversations; what it would gain by writing the earlier ones too is not in it."
)
"""What a value of conversations assumes, for reports."""
NO_CREDIT = (
    "credit: {given} is not supported: the outcome at the end of a conversation is credited to the assistant's last "
    "turn. Earlier turns were not drawn from the policy, and they change what is said after them, which the logs show "
    "only as it went on under the logged policy: the value of single turns does not identify what they are worth. Set "
    "credit: last"
)


def check_credit(given: Any) -> None:
    """Raise `ConfigError` unless the outcome of a conversation is credited to its last turn.

    Examples
    --------
    >>> from causalopt.data.conversations import check_credit
    >>> check_credit("last")
    >>> check_credit("per-turn")
    Traceback (most recent call last):
        ...
    causalopt.errors.ConfigError: credit: per-turn is not supported: the outcome at the end ...
    """
    if not (isinstance(given, str) and given == "last"):
        raise ConfigError(NO_CREDIT.format(given=given if isinstance(given, str) else shown(given)))


def read_conversations(
    frame: pd.DataFrame, columns: Columns, conversation: str, role: str, source: str
) -> tuple[pd.DataFrame, str]:
    """Return a table with a row for each conversation, and its name in messages.

    The text becomes the list of messages up to the assistant's last turn, from which
    `causalopt.data.messages.split_messages` makes text and prompt; what is said after it responds to it, and is left
    out. A conversation in which the assistant says nothing has no text. The outcomes are those that it has in any of
    its rows; any other column has the value of the text's row, or else the one that the others have.

    Parameters
    ----------
    frame:
        A row for each turn.
    columns:
        Roles of the columns, of which ``text`` is what is said in a turn. If there is a ``time``, turns are in its
        order, else in that of the rows.
    conversation, role:
        Columns of the conversation and of who speaks: user, assistant, system or tool, or a usual name for these.
    source:
        Name of the table in messages.

    Raises
    ------
    DataError
        If a turn has no conversation, an unknown speaker or no content; if rows of a conversation are separated by
        others and no ``time`` orders them, or times are missing or in doubt; or if two outcomes contradict each other.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.data.columns import Columns
    >>> from causalopt.data.conversations import read_conversations
    >>> turns = [("a", "user", "Why?", None), ("a", "assistant", "So.", None), ("a", "user", "Thanks!", 5)]
    >>> frame = pd.DataFrame(turns, columns=["id", "role", "text", "rating"])
    >>> found, _ = read_conversations(frame, Columns(outcome="rating"), "id", "role", "log.csv")
    >>> found["text"][0], found["rating"].tolist()
    ([{'role': 'user', 'content': 'Why?'}, {'role': 'assistant', 'content': 'So.'}], [5.0])
    """
    for name, meaning in ((conversation, "conversation"), (role, "role")):
        if name not in frame.columns:
            hint = did_you_mean(name, frame.columns)
            raise DataError(f"{source}: there is no column {name!r} for {meaning}{hint}")
        if name in (columns.text, columns.outcome, columns.prompt):
            raise DataError(
                f"{source}: column {name!r} cannot be {meaning} and text, outcome or prompt; give it one role"
            )
    columns.check(frame, source)
    if not len(frame):
        raise DataError(f"{source}: has no rows")
    frame = frame.reset_index(drop=True)
    speaker = [_speaker(cell, row, role, source) for row, cell in enumerate(frame[role], start=1)]
    for row, cell in enumerate(frame[columns.text], start=1):
        if _is_empty(cell) and speaker[row - 1] != "tool":
            raise DataError(f"{source}: column {columns.text!r}, row {row} is empty: a turn needs what was said in it")
    outcomes = (columns.outcome, *columns.other_outcomes)
    used = [name for _, name in columns.filled() if name not in (columns.text, role)]
    kept: list[dict[str, Any]] = []
    for rows in _in_order(frame, columns.time, conversation, source):
        last = max((k for k, row in enumerate(rows) if speaker[row] == "assistant"), default=None)
        at = rows[-1] if last is None else rows[last]
        where = f"{source}: conversation {shown(frame[conversation][at])}"
        one = {name: _value(frame[name], rows, at) for name in frame.columns if name not in (role, columns.text)}
        for name in used:
            one[name] = _only_value(frame[name], rows, at, where, outcome=name in outcomes)
        said = [] if last is None else rows[: last + 1]
        turns = [{"role": speaker[row], "content": _content(frame[columns.text][row])} for row in said]
        kept.append({**one, columns.text: turns or None})
    silent = [one[conversation] for one in kept if one[columns.text] is None]
    if silent:
        warnings.warn(
            f"{source}: in {len(silent):,} of {len(kept):,} conversations (the first is {shown(silent[0])}) the "
            "assistant has no turn, so that they have no text",
            CausalOptWarning,
            stacklevel=4,
        )
    return pd.DataFrame(kept, columns=[name for name in frame.columns if name != role]), f"{source}, by conversation"


def _in_order(frame: pd.DataFrame, time: str | None, conversation: str, source: str) -> list[list[int]]:
    """Positions of each conversation's rows, in order of its turns; conversations by first appearance."""
    for row, cell in enumerate(frame[conversation], start=1):
        if _is_empty(cell):
            raise DataError(f"{source}: column {conversation!r}, row {row} is empty: each turn is of a conversation")
    codes = pd.factorize(frame[conversation])[0]
    found = [np.flatnonzero(codes == code).tolist() for code in range(int(codes.max()) + 1)] if len(codes) else []
    if time is None:
        for rows in found:
            gap = next((k for k in range(1, len(rows)) if rows[k] != rows[k - 1] + 1), None)
            if gap is not None:
                raise DataError(
                    f"{source}: conversation {shown(frame[conversation][rows[0]])} goes on in row {rows[gap] + 1}, "
                    "after rows of others: name data.time, the column that orders its turns, or put its rows together"
                )
        return found
    times = validation.times(frame[time], time, source)
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0]) + 1
        raise DataError(
            f"{source}: column {time!r}, row {row} is empty: every turn needs its time, or none (data.time)"
        )
    ordered = []
    for rows in found:
        at = times.iloc[rows].to_numpy()
        if (np.diff(at) < 0).any() and len(np.unique(at)) < len(at):
            raise DataError(
                f"{source}: conversation {shown(frame[conversation][rows[0]])} has two turns of the same time "
                f"(data.time: {time}) and its rows are not in order, so that the order of its turns is unknown"
            )
        ordered.append([rows[k] for k in np.argsort(at, kind="stable")])
    return ordered


def _value(cells: pd.Series, rows: Sequence[int], at: int) -> Any:
    """Return the value of the text's row, or else the first of the others."""
    return next((cells[row] for row in (at, *rows) if not _is_empty(cells[row])), None)


def _only_value(cells: pd.Series, rows: Sequence[int], at: int, where: str, *, outcome: bool) -> Any:
    """Return the one value that a conversation has in a column; other than an outcome, the text's row decides."""
    missing = _is_no_number if outcome else _is_empty
    known: dict[Any, int] = {}
    for row in rows:
        if not missing(cells[row]):
            known.setdefault(_same(cells[row]), row)
    if len(known) > 1 and (outcome or _is_empty(cells[at])):
        one, other = sorted(known.values())[:2]
        hint = " (it has one outcome, at its end; its turns have none of their own)" if outcome else ""
        raise DataError(
            f"{where}: column {cells.name!r} is {shown(cells[one])} in row {one + 1} and {shown(cells[other])} in row "
            f"{other + 1}; keep one{hint}"
        )
    return cells[next(iter(known.values()))] if outcome and known else _value(cells, rows, at)


def _same(cell: Any) -> Any:
    """Return what is equal for cells that say the same: 5, 5.0 and "5"."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return repr(cell.strip() if isinstance(cell, str) else cell)


def _speaker(cell: Any, row: int, column: str, source: str) -> str:
    found = SPEAKERS.get(cell.strip().lower()) if isinstance(cell, str) else None
    if found is None:
        raise DataError(
            f"{source}: column {column!r}, row {row} is {shown(cell)}: who speaks is user, assistant, system or tool"
        )
    return found


def _content(cell: Any) -> str:
    return "" if _is_empty(cell) else str(cell)


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and bool(np.isnan(cell)))


def _is_no_number(cell: Any) -> bool:
    """Whether an outcome is missing; a text or a level of a covariate may be "none"."""
    return _is_empty(cell) or (isinstance(cell, str) and cell.strip().lower() in MISSING)
