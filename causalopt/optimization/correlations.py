"""How far the penalised fits of a run with constraints go: correlations of their rewards with the other outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causalopt.doors import check_number
from causalopt.errors import ConfigError
from causalopt.signatures import shown

CORRELATIONS = (0.2, -0.2, -0.6)
"""Correlations of the rewards of the penalised fits with each constrained outcome, see `penalty.penalised`."""
MOST = 10
"""Largest number of penalised fits."""


def check_correlations(what: str, given: Any) -> tuple[float, ...]:
    """Return correlations as a tuple; `ConfigError` unless they are different numbers between -1 and 1, a few at most.

    Examples
    --------
    >>> from causalopt.optimization.correlations import check_correlations
    >>> check_correlations("correlations", [0.3, 0])
    (0.3, 0.0)
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) > MOST:
        raise ConfigError(f"{what} must be a list of at most {MOST} numbers between -1 and 1, not {shown(given)}")
    for one in given:
        check_number(f"{what}: each", one, above=-1, below=1)
    if len(set(given)) < len(given):
        raise ConfigError(f"{what}: {shown(list(given))} names a number twice; each is a fit of its own")
    return tuple(float(one) for one in given)
