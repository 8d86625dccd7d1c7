"""What is handed in is looked at where it is handed in: one line says what was wanted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.errors import ConfigError, DataError


@pytest.fixture
def data() -> co.DirectOutcomeDataset:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(["help now", "give soon", "act please"], 60), "y": rng.normal(size=60)})
    return co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="y")


def test_a_data_set_is_not_pseudo_outcomes(data: co.DirectOutcomeDataset) -> None:
    with pytest.raises(DataError, match=r"pseudo must be the PseudoOutcomes of .*, not a DirectOutcomeDataset"):
        co.optimize(data, backend="finite")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="dataset must be a DirectOutcomeDataset, not a DataFrame"):
        co.PseudoOutcomeEstimator().fit_transform(pd.DataFrame())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_a_class_or_something_else_is_no_backend_and_no_objective(data: co.DirectOutcomeDataset) -> None:
    pseudo = co.PseudoOutcomeEstimator(outcome_model="ridge").fit_transform(data)
    with pytest.raises(ConfigError, match="FiniteBackend is a class: make an instance of it"):
        co.optimize(pseudo, backend=co.FiniteBackend)
    with pytest.raises(ConfigError, match="backend must be a backend, and list has no 'reference', 'fit'"):
        co.optimize(pseudo, backend=[])
    with pytest.raises(ConfigError, match=r"objective must be an objective .*, and function has no 'needs_samples'"):
        co.optimize(pseudo, objective=lambda inputs: inputs.g.sum(), backend="finite")


def test_a_file_is_no_data_and_a_name_no_policy(data: co.DirectOutcomeDataset) -> None:
    with pytest.raises(DataError, match=r"data must be a DirectOutcomeDataset or PseudoOutcomes, not 'survey.csv'"):
        co.evaluate(object(), "survey.csv")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="policy must be a policy, and str has no 'log_prob', 'sample'"):
        co.evaluate("runs/mild", data)  # type: ignore[arg-type]
