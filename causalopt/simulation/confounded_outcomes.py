"""A table made confounded on purpose: the stress test of the paper's second experiment, on anybody's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.special import expit

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError


def confound(
    data: DirectOutcomeDataset, attributes: Mapping[str, float], *, beta: float, strength: float, seed: int
) -> DirectOutcomeDataset:
    """Add a hidden confounder of text and outcome to the outcomes of n rows.

    A hidden variable U in {-1, 1} is more often 1 where the text has certain attributes, and adds to the outcome:

        P(U = 1 | x) = expit(strength * sum_j c_j (a_j(x) - mean a_j)),    y' = y + beta * U,

    after the confounded data of Lin et al. (2024, section 5). An outcome model that is fitted on y' takes
    beta (2 P(U = 1 | x) - 1) for an effect of the text.

    Parameters
    ----------
    data:
        With ``attributes`` that were coded for the texts.
    attributes:
        c_j, the log-odds of U per unit of each attribute.
    beta, strength:
        Half the difference in outcomes that U makes, outcome units; factor of all log-odds (0: U is noise).
    seed:
        Of U.

    Raises
    ------
    ConfigError
        If an attribute is not one of the data's.

    Examples
    --------
    >>> import pandas as pd
    >>> from causalopt import DirectOutcomeDataset
    >>> from causalopt.simulation.confounded_outcomes import confound
    >>> frame = pd.DataFrame({"text": ["a", "b"] * 50, "outcome": [0.0, 1.0] * 50, "bold": [1, 0] * 50})
    >>> data = DirectOutcomeDataset.from_frame(frame, attributes=["bold"])
    >>> confound(data, {"bold": 50.0}, beta=3.0, strength=1.0, seed=0).outcome[:2].tolist()
    [3.0, -2.0]
    """
    for name in attributes:
        if name not in data.attributes:
            known = ", ".join(map(str, data.attributes)) or "none"
            raise ConfigError(
                f"outcome_data.confounding.attributes: {name!r} is not among data.attributes, which are: {known}"
            )
    coded = data.attributes[list(attributes)].to_numpy(dtype=np.float64)
    log_odds = strength * (coded - coded.mean(axis=0)) @ np.array(list(attributes.values()))
    hidden = np.where(np.random.default_rng(seed).random(len(data)) < expit(log_odds), 1.0, -1.0)
    return replace(data, outcome=data.outcome + beta * hidden)
