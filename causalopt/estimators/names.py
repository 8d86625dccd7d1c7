"""The names of the value estimators in configurations and tables."""

from __future__ import annotations

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

ESTIMATORS = (
    "sndr", "dr", "balance", "snipw", "ipw", "clipped_ipw", "switch_dr", "dr_os", "mdr", "mips", "dm", "adaptive_dr",
)  # fmt: skip
"""All names, the most robust first, and that for adaptive logs last."""
MARGINALIZED = ("mips", "mdr")
"""Estimators that weight by a ratio in embedding space."""


DEFAULT = ("sndr", "dr", "snipw", "dm")
"""Estimators of an evaluation unless others are named."""
ADAPTIVE = ("adaptive_dr", *DEFAULT)
"""The same for adaptive logs with logged propensities."""


def check_estimator(name: str) -> str:
    """Return the name of an estimator; any other name raises a `ConfigError` that lists the known ones.

    Examples
    --------
    >>> from causalopt.estimators.names import check_estimator
    >>> check_estimator("sndr")
    'sndr'
    """
    if name not in ESTIMATORS:
        known = ", ".join(ESTIMATORS)
        raise ConfigError(f"there is no estimator {name!r}{did_you_mean(name, ESTIMATORS)}; there are: {known}")
    return name
