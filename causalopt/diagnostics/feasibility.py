"""Which policies keep bounds on other outcomes, as rows set apart show them: by limits that hold for all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalopt.data.constraint import Constraint
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.simultaneous import simultaneous

UNKNOWN = "{} does not vary on these rows, or cannot be estimated: no limit is known."


@dataclass(frozen=True, eq=False)
class Feasibility:
    """Values of the constrained outcomes for a reference and for policies that may be chosen in its place.

    Attributes
    ----------
    constraints:
        The bounds.
    frame:
        One row for each policy, the reference first: for every constrained outcome ``value of NAME``, ``low of NAME``
        and ``high of NAME``, a band that contains the values of all policies and outcomes at once; nan if unknown.
    level:
        Level of the band, whose one end is a limit of level (1 + level) / 2.
    """

    constraints: tuple[Constraint, ...]
    frame: pd.DataFrame
    level: float

    def holds(self, constraint: Constraint, policy: int) -> bool | None:
        """Whether a policy is shown to keep a bound, or to break it; None if neither."""
        row = self.frame.iloc[policy]
        return constraint.holds(row[f"low of {constraint.outcome}"], row[f"high of {constraint.outcome}"])

    def barred(self, policy: int) -> str | None:
        """Why a policy may not be chosen: the first bound that it is not shown to keep; None if it keeps all."""
        for one in self.constraints:
            if self.holds(one, policy) is not True:
                row = self.frame.iloc[policy]
                if np.isnan(row[f"high of {one.outcome}"]):
                    return UNKNOWN.format(one.outcome)
                limit = one.against(row[f"low of {one.outcome}"], row[f"high of {one.outcome}"])
                extreme = "high" if one.at_least is None else "low"
                return (
                    f"{one.outcome} may be as {extreme} as {limit:.3g}; the bound is at {one.words.split(' at ')[-1]}."
                )
        return None

    def sentences(self, policy: int, who: str) -> list[str]:
        """Say of each bound whether a policy keeps it."""
        interval = f"{self.level:.0%} band of all candidates"
        said = []
        row = self.frame.iloc[policy]
        for one in self.constraints:
            value, low, high = (float(row[f"{part} of {one.outcome}"]) for part in ("value", "low", "high"))
            if np.isnan(high):
                said.append(
                    f"Whether the bound {one.words} holds for {who} cannot be told: {UNKNOWN.format(one.outcome)}"
                )
            else:
                said.append(one.sentence(who, value, low, high, interval))
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return the bounds and the values of the reference as plain numbers."""
        row = self.frame.iloc[0].astype(object).where(self.frame.iloc[0].notna(), None)
        return {
            "bounds": [
                {
                    "outcome": one.outcome,
                    "at_most": one.at_most,
                    "at_least": one.at_least,
                    "reference": row[f"value of {one.outcome}"],
                    "reference_low": row[f"low of {one.outcome}"],
                    "reference_high": row[f"high of {one.outcome}"],
                    "reference_holds": self.holds(one, 0),
                }
                for one in self.constraints
            ]
        }


def feasibility(
    constraints: Sequence[Constraint], values: Sequence[Mapping[str, Estimate]], level: float, seed: int = 0
) -> Feasibility:
    """Compute the band of the constrained outcomes of all policies.

    The limits hold for all policies at once, since the one that is chosen is chosen by what these rows show: with the
    limit of each by itself, the policies that seem to keep a bound by chance would be preferred. A one-sided limit of
    the band at ``level`` is exceeded, by any of the policies, in at most about (1 - level) / 2 of the samples.

    Parameters
    ----------
    constraints:
        The bounds.
    values:
        By name of the outcome, its value under each policy, the reference first, from the same rows; outcomes whose
        value cannot be estimated are left out.
    level:
        Level of the band.
    seed:
        Seed of the band's simulation.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.data.constraint import Constraint
    >>> from causalopt.diagnostics.feasibility import feasibility
    >>> from causalopt.evaluation import Estimate
    >>> noise = np.random.default_rng(0).normal(size=400)
    >>> noise -= noise.mean()
    >>> few, many = Estimate(0.1, noise), Estimate(0.4, noise)
    >>> found = feasibility([Constraint("complaints", at_most=0.3)], [{"complaints": few}, {"complaints": many}], 0.9)
    >>> found.barred(0) is None, found.holds(found.constraints[0], 1)
    (True, False)
    """
    outcomes = list(dict.fromkeys(one.outcome for one in constraints))
    frame = pd.DataFrame(
        np.nan,
        index=range(len(values)),
        columns=[f"{part} of {name}" for name in outcomes for part in ("value", "low", "high")],
    )
    # A standard error of zero is that of rows without a single event: it tells no limit.
    known = [(i, name) for i, row in enumerate(values) for name in outcomes if name in row and row[name].se > 0]
    if known:
        band = simultaneous([values[i][name] for i, name in known], level, seed=seed)
        for (i, name), low, high in zip(known, band.low, band.high, strict=True):
            frame.loc[i, [f"{part} of {name}" for part in ("value", "low", "high")]] = (
                values[i][name].value,
                low,
                high,
            )
    return Feasibility(tuple(constraints), frame, level)
