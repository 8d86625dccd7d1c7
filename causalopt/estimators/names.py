"""The names of the value estimators, which configurations and tables know them by."""

from __future__ import annotations

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

ESTIMATORS = ("sndr", "dr", "snipw", "ipw", "clipped_ipw", "switch_dr", "dr_os", "mdr", "mips", "dm")
"""Every name, the most robust first."""
MARGINALIZED = ("mips", "mdr")
"""Those that weight by a ratio in embedding space."""


def check_estimator(name: str) -> str:
    """Return the name of an estimator; `ConfigError` with those that there are for any other.

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
