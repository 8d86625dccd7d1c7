"""A bound on the value of another outcome, such as a share of complaints of at most two percent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from causalopt.data.dataset import Direction, DirectOutcomeDataset
from causalopt.doors import check_number
from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.signatures import shown
from causalopt.suggestion import did_you_mean


@dataclass(frozen=True)
class Constraint:
    """A bound on the value of one of a data set's ``other_outcomes``, for `causalopt.optimize` and `evaluate`.

    Parameters
    ----------
    outcome:
        Name of the outcome.
    at_most, at_least:
        The bound on its mean if everybody read texts from the policy, in its units; exactly one of the two.

    Raises
    ------
    ConfigError
        If it is not one finite bound on a named outcome.

    Examples
    --------
    >>> from causalopt.data.constraint import Constraint
    >>> complaints = Constraint("complaints", at_most=0.02)
    >>> complaints.words, complaints.holds(0.005, 0.015), complaints.holds(0.01, 0.03), complaints.holds(0.03, 0.05)
    ('complaints at most 0.02', True, None, False)
    """

    outcome: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.outcome, str) or not self.outcome:
            raise ConfigError(f"a constraint's outcome must be the name of a column, not {shown(self.outcome)}")
        if (self.at_most is None) == (self.at_least is None):
            raise ConfigError(f"the constraint on {self.outcome!r} needs exactly one of at_most and at_least")
        side = "at_most" if self.at_least is None else "at_least"
        check_number(f"the constraint on {self.outcome!r}: {side}", vars(self)[side])

    @property
    def bound(self) -> float:
        """The bound, in the outcome's units."""
        bound = self.at_most if self.at_least is None else self.at_least
        assert bound is not None
        return float(bound)

    @property
    def direction(self) -> Direction:
        """Which way is away from the bound."""
        return "minimize" if self.at_least is None else "maximize"

    @property
    def words(self) -> str:
        """The constraint in words."""
        return f"{self.outcome} at {self._side} {self.bound:g}"

    def holds(self, low: float, high: float) -> bool | None:
        """Whether an interval shows that the bound holds, or that it does not; None if it contains the bound."""
        if self.at_least is None:
            return True if high <= self.bound else (False if low > self.bound else None)
        return True if low >= self.bound else (False if high < self.bound else None)

    def against(self, low: float, high: float) -> float:
        """Return the end of an interval that counts against the bound."""
        return high if self.at_least is None else low

    def sentence(self, who: str, value: float, low: float, high: float, interval: str) -> str:
        """Say of a policy whether the bound holds.

        Examples
        --------
        >>> from causalopt.data.constraint import Constraint
        >>> Constraint("complaints", at_most=0.02).sentence("the policy", 0.01, 0.005, 0.015, "95% interval")
        'The bound complaints at most 0.02 holds for the policy: 0.01 (95% interval 0.005 to 0.015).'
        """
        verdict = {True: "holds", False: "does not hold", None: "may or may not hold"}[self.holds(low, high)]
        return f"The bound {self.words} {verdict} for {who}: {value:.3g} ({interval} {low:.3g} to {high:.3g})."

    @property
    def _side(self) -> Literal["most", "least"]:
        return "most" if self.at_least is None else "least"


def check_constraints(constraints: Any, data: DirectOutcomeDataset) -> tuple[Constraint, ...]:
    """Return constraints as a tuple, each on one of the data set's ``other_outcomes`` and within reach.

    Raises
    ------
    ConfigError
        If one is not a `Constraint`, is on an outcome that the data set has not, or is named twice; or if every row
        lies on the wrong side of the bound, so that no policy over such texts can keep it.

    Warns
    -----
    CausalOptWarning
        If every row lies on the right side of a bound, so that every policy keeps it.
    """
    if isinstance(constraints, str) or not isinstance(constraints, Sequence):
        raise ConfigError(f"constraints must be a list of Constraint, not {shown(constraints)}")
    known = [] if data.other_outcomes is None else list(data.other_outcomes.columns)
    seen: set[tuple[str, Direction]] = set()
    for one in constraints:
        if not isinstance(one, Constraint):
            raise ConfigError(f"constraints must be a list of Constraint, and {shown(one)} is none")
        if one.outcome == data.columns.outcome:
            raise ConfigError(
                f"constraints: {one.outcome!r} is the outcome that is optimised: bound another one, or optimise another"
            )
        if one.outcome not in known:
            hint = did_you_mean(one.outcome, known) or f"; there are: {', '.join(known) or 'none'}"
            raise ConfigError(f"constraints: {one.outcome!r} is not among the other_outcomes of {data.source}{hint}")
        if (one.outcome, one.direction) in seen:
            raise ConfigError(f"constraints: there are two bounds of the same kind on {one.outcome!r}; keep one")
        seen.add((one.outcome, one.direction))
        _check_range(one, data)
    return tuple(constraints)


def _check_range(constraint: Constraint, data: DirectOutcomeDataset) -> None:
    values = data.with_outcome(constraint.outcome, constraint.direction)
    known = values.outcome[values.rated]
    low, high = float(np.min(known)), float(np.max(known))
    reach = f"{data.source}: column {constraint.outcome!r} runs from {low:g} to {high:g}"
    if constraint.holds(low, high) is False:
        raise ConfigError(f"{reach}: no policy can be expected to keep {constraint.words}; correct the bound")
    if constraint.holds(low, high) is True:
        warnings.warn(
            f"{reach}: every policy keeps {constraint.words}, so that this constraint changes nothing",
            CausalOptWarning,
            stacklevel=4,
        )
