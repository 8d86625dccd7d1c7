"""The names of the value estimators in configurations and tables."""

from __future__ import annotations

from causalopt.errors import ConfigError
from causalopt.suggestion import did_you_mean

ESTIMATORS = ("sndr", "dr", "balance", "snipw", "ipw", "clipped_ipw", "switch_dr", "dr_os", "mdr", "mips", "dm")
"""All names, the most robust first."""
FOR_ADAPTIVE_LOGS = ("adaptive_dr",)
"""Estimators that only logs have whose texts were chosen by earlier outcomes."""
MARGINALIZED = ("mips", "mdr")
"""Estimators that weight by a ratio in embedding space."""


DEFAULT = ("balance", "sndr", "dr", "snipw", "dm")
"""Estimators of an evaluation unless others are named."""
ADAPTIVE = (*FOR_ADAPTIVE_LOGS, *DEFAULT)
"""The same for adaptive logs with logged propensities."""


def check_estimator(name: str) -> str:
    """Return the name of an estimator; any other name raises a `ConfigError` that lists the known ones.

    Examples
    --------
    >>> from causalopt.estimators.names import check_estimator
    >>> check_estimator("sndr")
    'sndr'
    """
    known = (*ESTIMATORS, *FOR_ADAPTIVE_LOGS)
    if name not in known:
        raise ConfigError(f"there is no estimator {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return name
