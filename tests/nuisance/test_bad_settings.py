"""Settings of nuisances out of their range are named, before anything is fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"repeats": 0}, "repeats must be a whole number of at least 1, not 0"),
        ({"folds": "x"}, "folds must be a whole number of at least 2"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"max_weight": np.nan}, "max_weight must be a number above 1"),
        ({"embedder": [1]}, "embedder must be an embedder"),
        ({"outcome_model": {"name": "ridge-lightgbm", "rounds": 0}}, "rounds must be a whole number of at least 1"),
        ({"outcome_model": {"name": "lightgbm", "leaves": 1}}, "leaves must be a whole number of at least 2"),
        ({"assignment_model": {"name": "gaussian", "sample": 0}}, "gaussian: sample must be"),
        ({"assignment_model": {"name": "classifier", "permutations": 0}}, "classifier: permutations must be"),
    ],
)
def test_a_setting_out_of_its_range_is_named(settings, said):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": [f"give {i} now" for i in range(60)], "age": rng.normal(size=60)})
    data = co.DirectOutcomeDataset.from_frame(frame.assign(outcome=rng.normal(size=60)), covariates=["age"])
    with pytest.raises(ConfigError, match=said):
        co.PseudoOutcomeEstimator(**settings).fit_transform(data)
