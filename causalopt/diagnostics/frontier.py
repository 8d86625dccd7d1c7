"""How far to go: the point of a policy's path whose gain the data vouch for most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

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
    """

    factor: float
    kl: float
    kl_se: float
    difference: Estimate | None
    ess: float
    outside: float | None
    barred: str | None = None


@dataclass(frozen=True, eq=False)
class Frontier:
    """Gain against KL on rows set apart, and the point that was chosen.

    Attributes
    ----------
    frame:
        One row for each point: factor, kl, kl_se; gain and se; ci_low and ci_high, a band that contains the gains of
        all points at once; bound, the end of the point's own interval that counts against it; ess, outside, barred,
        chosen.
    level:
        Level of the band, and of the two-sided intervals whose end is the bound.
    rows:
        Number of rows set apart.
    direction:
        Whether larger or smaller outcomes are better.
    """

    frame: pd.DataFrame
    level: float
    rows: int
    direction: Literal["maximize", "minimize"]

    @property
    def chosen(self) -> float:
        """Factor of the chosen point; 0 if it is the reference."""
        found = self.frame.loc[self.frame["chosen"], "factor"]
        return float(found.iloc[0]) if len(found) else 0.0

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
) -> Frontier:
    """Choose the point with the largest lower bound of its gain over the reference, whose own bound is 0.

    A gain that is estimated well is worth more than a larger one that is not; where no bound is above zero, nothing is
    better than the reference as far as these rows can tell. The bound of the chosen point is too high, since it was
    chosen for it: the value to report comes from other rows.

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
            "barred": pd.Series([point.barred for point in points], dtype=object),
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
    if len(frame) and against.max() > 0:
        frame.loc[against.idxmax(), "chosen"] = True
    return Frontier(frame.sort_values("factor", ignore_index=True), level, rows, direction)
