"""How far to go: the point of a policy's path whose gain the data vouch for most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from causalopt.data.constraint import Constraint
from causalopt.diagnostics.feasibility import Feasibility, feasibility
from causalopt.diagnostics.verdict import TOO_FEW
from causalopt.digits import number, plain, signed
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.simultaneous import simultaneous

MOST_ROWS = 1_000_000
"""A number of rows above which `Frontier.rows_needed` is not reported: the gain is as good as none."""


@dataclass(frozen=True)
class Point:
    """A policy on the way from its reference outwards, as rows that it was not trained on see it.

    Attributes
    ----------
    factor:
        Its place: 0 is the reference, 1 the end of the fit.
    kl, kl_se:
        KL to the reference and its Monte Carlo error, nats.
    difference:
        Policy minus reference, outcome units; None if it cannot be estimated.
    ess:
        Effective number of units of its weights.
    outside:
        Share of its texts outside of the logged texts' support; None if it chooses among known texts.
    barred:
        Why it may not be chosen, such as thin overlap; None if it may.
    correlation:
        Of the rewards of the fit whose path it is on with the constrained outcomes, by which they were penalised; None
        for the fit without a penalty.
    constrained:
        Values of the constrained outcomes, by name; those that cannot be estimated are left out.
    """

    factor: float
    kl: float
    kl_se: float
    difference: Estimate | None
    ess: float
    outside: float | None
    barred: str | None = None
    correlation: float | None = None
    constrained: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Frontier:
    """Gain against KL on rows set apart, and the point that was chosen.

    Attributes
    ----------
    frame:
        One row for each point: factor, kl, kl_se; gain and se; ci_low and ci_high, a band that contains the gains of
        all points at once; bound, the end of the point's own interval that counts against it; ess, outside, barred,
        chosen; and with constraints correlation and the columns of `Feasibility.frame`.
    level:
        Level of the band, and of the two-sided intervals whose end is the bound.
    rows:
        Number of rows set apart.
    direction:
        Whether larger or smaller outcomes are better.
    feasibility:
        Values of the constrained outcomes, the reference's first and the others in the order of ``frame``; None without
        constraints.
    """

    frame: pd.DataFrame
    level: float
    rows: int
    direction: Literal["maximize", "minimize"]
    feasibility: Feasibility | None = None

    @property
    def chosen(self) -> float:
        """Factor of the chosen point; 0 if it is the reference."""
        found = self.frame.loc[self.frame["chosen"], "factor"]
        return float(found.iloc[0]) if len(found) else 0.0

    @property
    def correlation(self) -> float | None:
        """Correlation that names the penalised fit on whose path the chosen point is; None if it was not penalised."""
        found = self.frame.loc[self.frame["chosen"]]
        if not len(found) or "correlation" not in found or pd.isna(found["correlation"].iloc[0]):
            return None
        return float(found["correlation"].iloc[0])

    @property
    def reference_fails(self) -> bool:
        """Whether the reference breaks a bound, or is not shown to keep it."""
        return self.feasibility is not None and self.feasibility.barred(0) is not None

    @property
    def rows_needed(self) -> int | None:
        """Rows set apart from which a bound would exceed zero, if gain and noise are as they seem; None without a gain.

        The smallest n (z se / gain)^2 of all points that may be chosen, as a standard error falls with the square root
        of the number of rows. If no point may be chosen for want of effective units, the rows that would give enough.
        """
        if self.frame.empty:
            return None
        most = float(self.frame["ess"].max())
        if self.frame["barred"].notna().all():
            return int(np.ceil(self.rows * TOO_FEW / most)) if 0 < most < TOO_FEW else None
        some = self.frame[self.frame["barred"].isna() & self.frame["gain"].notna()]
        gain = self._sign * some["gain"]
        margin = gain - self._sign * some["bound"]  # z se
        needed = (self.rows * (margin / gain) ** 2)[gain > 0]
        return int(np.ceil(needed.min())) if len(needed) and needed.min() <= MOST_ROWS else None

    @property
    def sentence(self) -> str:
        """Describe the choice in words."""
        return self._choice if self.feasibility is None else " ".join(self._constrained(self.feasibility))

    def _constrained(self, found: Feasibility) -> list[str]:
        """Describe the choice and the bounds in words."""
        apart = f"on {self.rows:,} rows set apart"
        chosen = np.flatnonzero(self.frame["chosen"])
        reference = found.barred(0)
        if len(chosen):
            row = self.frame.iloc[chosen[0]]
            k = self.correlation
            penalty = "" if k is None else f" of the fit whose rewards have correlation {k:g} with what is bounded"
            begin = [
                f"Of {len(self.frame)} policies, the one at {row['kl']:.2g} nats{penalty} was chosen: {apart}, its "
                f"gain has the best {self.level:.0%} limit ({row['bound']:+.3g}) of all that are shown to keep the "
                "bounds."
            ]
            if reference is not None:
                begin.append("A bound comes before a gain, and the reference itself is not shown to keep them all.")
                begin += found.sentences(0, "the reference")
            return begin + found.sentences(int(chosen[0]) + 1, "the policy")
        if reference is None:
            return [self._choice, *found.sentences(0, "the reference")]
        broken = any(found.holds(one, 0) is False for one in found.constraints)
        fails = "does not keep the bounds" if broken else "is not shown to keep the bounds"
        return [
            f"Even the reference {fails}: {apart}, neither it nor any other policy can be said to. The policy is the "
            "reference.",
            *found.sentences(0, "the reference"),
        ]

    @property
    def _choice(self) -> str:
        """Describe the choice in words, without the bounds on other outcomes."""
        apart = f"{self.rows:,} rows set apart"
        if self.chosen and self.frame["chosen"].any():
            row = self.frame[self.frame["chosen"]].iloc[0]
            return (
                f"Of {len(self.frame)} policies between the reference and what the fit reached, the one at "
                f"{number(float(row['kl']))} nats was chosen: on {apart}, its gain has the best {self.level:.0%} bound "
                f"({plain(signed(number(float(row['bound']))))})."
            )
        if self.frame.empty:
            return "The policy is the reference: the fit ends so near to it that there is no path between them."
        barred, needed = self.frame["barred"].dropna(), self.rows_needed
        if len(barred) == len(self.frame):
            more = "" if needed is None else f" At least {needed:,} rows set apart are needed."
            return f"The policy is the reference: on {apart}, no other can be judged. {barred.iloc[0]}{more}"
        hint = (
            "no policy on the path seems to gain anything"
            if needed is None
            else f"if the gain is what it seems, some {needed:,} rows set apart would show it"
        )
        return (
            f"The policy is the reference: on {apart}, no other has a gain whose {self.level:.0%} bound is above zero; "
            f"{hint}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as plain numbers, with ``sentence``; what is not known is null."""
        frame = self.frame.astype(object).where(self.frame.notna(), None)
        return {
            "sentence": self.sentence,
            "chosen": self.chosen,
            "level": self.level,
            "rows": self.rows,
            "rows_needed": self.rows_needed,
            "points": frame.to_dict("records"),
            **({} if self.feasibility is None else {"correlation": self.correlation, **self.feasibility.to_dict()}),
        }

    @property
    def _sign(self) -> float:
        return 1.0 if self.direction == "maximize" else -1.0


def choose_point(
    points: Sequence[Point],
    *,
    rows: int,
    direction: Literal["maximize", "minimize"] = "maximize",
    level: float = 0.9,
    seed: int = 0,
    constraints: Sequence[Constraint] = (),
    reference: Mapping[str, Estimate] | None = None,
) -> Frontier:
    """Choose the point with the largest lower bound of its gain over the reference, whose own bound is 0.

    A gain that is estimated well is worth more than a larger one that is not; where no bound is above zero, nothing is
    better than the reference as far as these rows can tell. The bound of the chosen point is too high, since it was
    chosen for it: the value to report comes from other rows.

    With constraints, a point that is not shown to keep all bounds may not be chosen (`feasibility`). If this is so of
    the reference too, the best of the points that are shown to keep them is chosen whatever its gain, as the bounds
    come first; if there is none, the reference is, and the sentence says so.

    Parameters
    ----------
    points:
        Policies on the path, in any order; their differences are estimates of the same rows.
    rows:
        Number of rows.
    direction:
        Whether larger or smaller outcomes are better.
    level:
        Level of the two-sided intervals whose end is the bound, and of the simultaneous band.
    seed:
        Seed of the band's simulation.
    constraints:
        Bounds on other outcomes.
    reference:
        Values of the constrained outcomes under the reference, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.frontier import Point, choose_point
    >>> from causalopt.evaluation import Estimate
    >>> noise = np.random.default_rng(0).normal(size=400)
    >>> noise -= noise.mean()
    >>> near, far = Estimate(0.2, noise), Estimate(0.3, 4 * noise)
    >>> points = [Point(0.5, 0.1, 0.0, near, 300, 0.0), Point(1.0, 0.4, 0.0, far, 100, 0.0)]
    >>> choose_point(points, rows=400).chosen
    0.5
    """
    points = sorted(points, key=_place)
    found = None
    barred = [point.barred for point in points]
    if constraints:
        # A point that is barred anyway takes no share of the level.
        values = [point.constrained if point.barred is None else {} for point in points]
        found = feasibility(constraints, [reference or {}, *values], level, seed)
        barred = [why or found.barred(i) for i, why in enumerate(barred, start=1)]
    frame = pd.DataFrame(
        {
            "factor": [point.factor for point in points],
            "kl": [point.kl for point in points],
            "kl_se": [point.kl_se for point in points],
            "gain": np.nan,
            "se": np.nan,
            "ci_low": np.nan,
            "ci_high": np.nan,
            "bound": np.nan,
            "ess": [point.ess for point in points],
            "outside": [np.nan if point.outside is None else point.outside for point in points],
            "barred": pd.Series(barred, dtype=object),
            "chosen": False,
        }
    )
    known = {i: point.difference for i, point in enumerate(points) if point.difference is not None}
    sign = 1.0 if direction == "maximize" else -1.0
    if known:
        estimates, rows_of = list(known.values()), list(known)
        band = simultaneous(estimates, level, seed=seed)
        frame.loc[rows_of, "gain"] = [one.value for one in estimates]
        frame.loc[rows_of, "se"] = [one.se for one in estimates]
        frame.loc[rows_of, ["ci_low", "ci_high"]] = np.column_stack([band.low, band.high])
        frame.loc[rows_of, "bound"] = [one.confint(level)[0 if sign > 0 else 1] for one in estimates]
    against = (sign * frame["bound"]).where(frame["barred"].isna(), -np.inf).fillna(-np.inf)
    # The reference has the bound 0, unless it may not be chosen itself.
    if len(frame) and against.max() > (0 if found is None or found.barred(0) is None else -np.inf):
        frame.loc[against.idxmax(), "chosen"] = True
    if found is not None:
        frame.insert(0, "correlation", [np.nan if p.correlation is None else p.correlation for p in points])
        frame = pd.concat([frame, found.frame[1:].reset_index(drop=True)], axis=1)
    return Frontier(frame, level, rows, direction, found)


def _place(point: Point) -> tuple[float, float]:
    """Order of the points: by fit, the one without a penalty first, and along its path."""
    return -1.0 if point.correlation is None else 1.0 - point.correlation, point.factor
