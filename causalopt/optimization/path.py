"""The path of policies from a reference to the end of a fit, and beyond."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from scipy.optimize import brentq

from causalopt.backends.contracts import InterpolablePolicy, Policy
from causalopt.errors import CausalOptWarning

FACTORS = (0.25, 0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Points of a path: 0 is the reference, 1 the end of the fit."""
ENDS = (1.0, 1.5, 2.0, 3.0)
"""Points whose texts are drawn; those of the points between them are weighted."""
PRECISION = 0.02
"""Relative error of the KL at which a search for a target ends."""


def factors_of(end: Policy, furthest: float = FACTORS[-1]) -> tuple[float, ...]:
    """Points of a policy's path up to ``furthest``; its end alone if it has no other."""
    if not isinstance(end, InterpolablePolicy):
        return (1.0,)
    return tuple(factor for factor in FACTORS if factor <= furthest)


def ends_of(factors: Sequence[float]) -> tuple[float, ...]:
    """Those of some points whose texts are drawn: the `ENDS` among them, and the last.

    Examples
    --------
    >>> from causalopt.optimization.path import ends_of
    >>> ends_of([0.25, 0.5]), ends_of([0.25, 0.5, 0.75, 1.0, 1.25])
    ((0.5,), (1.0, 1.25))
    """
    return tuple(factor for factor in factors if factor in ENDS or factor == factors[-1])


def at(end: Policy, reference: Policy, factor: float) -> Policy:
    """Return the policy at ``factor`` of the way from the reference to ``end``.

    Raises
    ------
    ModelError
        If there is no path between the two.
    """
    if factor == 0:
        return reference
    if factor == 1 or not isinstance(end, InterpolablePolicy):
        return end
    return end.interpolated(reference, factor)


def factor_at_kl(end: Policy, reference: Policy, target_kl: float, kl: Callable[[Policy], float]) -> float:
    """Return the point of the path whose KL to the reference is ``target_kl``, within two percent.

    Parameters
    ----------
    end, reference:
        The two ends of the path.
    target_kl:
        Nats.
    kl:
        KL of a policy to the reference, nats.

    Warns
    -----
    CausalOptWarning
        If the path ends before the target, or has no points but its ends: the nearest point is returned.
    """
    known = {0.0: 0.0}

    def excess(factor: float) -> float:
        if factor not in known:
            known[factor] = kl(at(end, reference, factor))
        found = known[factor] / target_kl - 1
        return 0.0 if abs(found) <= PRECISION else found

    if not isinstance(end, InterpolablePolicy):
        if abs(excess(1.0)) > 0.1:
            warnings.warn(
                f"the fit ended at a KL of {known[1.0]:.3g} nats, and its policy cannot be moved to target_kl = "
                f"{target_kl:g}: {type(end).__name__} has no path to its reference",
                CausalOptWarning,
                stacklevel=3,
            )
        return 1.0
    below = 0.0
    for factor in ENDS:  # no further than needed: far out, texts fall apart
        if excess(factor) >= 0:
            return factor if excess(factor) == 0 else float(brentq(excess, below, factor, xtol=1e-4, maxiter=40))
        below = factor
    warnings.warn(
        f"the path ends at a KL of {known[below]:.3g} nats, before target_kl = {target_kl:g}: lower objective.kl and "
        "objective.forward_kl, or raise training.num_train_epochs",
        CausalOptWarning,
        stacklevel=3,
    )
    return below
