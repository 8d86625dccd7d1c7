"""The conclusion about groups of readers: who loses and who gains, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from causalopt.arrays import as_outcome
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.digits import change, plain
from causalopt.doors import check_choice, check_number, check_strings, check_type
from causalopt.errors import DataError

GroupOutlook = Literal["gains", "loses", "unclear"]


@dataclass(frozen=True)
class GroupVerdict:
    """The conclusion about each group.

    Attributes
    ----------
    outlooks:
        For each group whether it "gains" or "loses"; "unclear" if nothing is concluded.
    sentence:
        Who loses and who gains, or that no group can be shown to do either; empty without groups.
    """

    outlooks: tuple[GroupOutlook, ...]
    sentence: str


def judge_groups(
    frame: pd.DataFrame,
    *,
    outcome: str = "outcome",
    direction: Literal["maximize", "minimize"] = "maximize",
    level: float = 0.95,
    barred: Sequence[str] = (),
) -> GroupVerdict:
    """Decide which groups of readers lose by a policy, and which gain.

    Parameters
    ----------
    frame:
        One row for each group: ``group``, ``gain`` (policy minus reference, outcome units), simultaneous ``ci_low`` and
        ``ci_high``, and ``ess``, the effective number of units; missing numbers for a group that has no estimate.
    outcome, direction, level, barred:
        As in `causalopt.evaluation.judge`: as there, nothing is concluded from fewer than 20 effective units, or if
        anything speaks against every conclusion.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt.diagnostics.group_verdict import judge_groups
    >>> frame = pd.DataFrame({"group": ["party = left", "party = right"], "gain": [0.5, -0.4]})
    >>> frame = frame.assign(ci_low=[0.2, -0.7], ci_high=[0.8, -0.1], ess=80.0)
    >>> found = judge_groups(frame, outcome="rating")
    >>> found.outlooks
    ('gains', 'loses')
    >>> found.sentence.split(": ")[0]
    'Readers with party = right lose'
    """
    check_type("frame", frame, (pd.DataFrame,), "a DataFrame with a row for each group")
    missing = [name for name in ("group", "gain", "ci_low", "ci_high", "ess") if list(frame.columns).count(name) != 1]
    if missing:
        raise DataError(
            f"frame must have one column for each of group, gain, ci_low, ci_high, ess, and has not {missing[0]}"
        )
    check_type("outcome", outcome, (str,), "the name of the outcome")
    check_choice("direction", direction, ["maximize", "minimize"])
    check_number("level", level, above=0, below=1)
    check_strings("barred", barred, "sentences")
    columns = {name: as_outcome(name, frame[name], len(frame)) for name in ("gain", "ci_low", "ci_high", "ess")}
    frame = frame.assign(**columns)
    sign = 1.0 if direction == "maximize" else -1.0
    outlooks: list[GroupOutlook] = []
    for low, high, ess in zip(frame["ci_low"], frame["ci_high"], frame["ess"], strict=True):
        known = np.isfinite(low) and ess >= TOO_FEW and not barred
        if known and low > 0:
            outlooks.append("gains" if sign > 0 else "loses")
        elif known and high < 0:
            outlooks.append("loses" if sign > 0 else "gains")
        else:
            outlooks.append("unclear")
    said = []
    losing = frame[[one == "loses" for one in outlooks]]
    if len(losing):
        each = []
        for row in losing.itertuples():
            by, least, most = change({"estimate": row.gain, "ci_low": row.ci_low, "ci_high": row.ci_high})
            size = plain(f"{by} ({100 * level:g}% simultaneous interval {least} to {most})")
            each.append(f"{row.group} lose: {outcome} would move by {size}")
        said.append(f"Readers with {'; those with '.join(each)}.")
    gaining = [str(name) for name, one in zip(frame["group"], outlooks, strict=True) if one == "gains"]
    if gaining:
        said.append(f"Readers with {'; '.join(gaining)} gain.")
    if not said and len(frame):
        said.append("No group of readers can be shown to gain or to lose.")
    return GroupVerdict(tuple(outlooks), " ".join(said))
