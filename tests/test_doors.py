"""What is handed in is looked at where it is handed in: one line says what was wanted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.errors import CausalOptError, ConfigError, DataError
from causalopt.evaluation import clipped_ipw, dm, dr_os, snipw, switch_dr
from causalopt.evaluation.policies import LoggedPolicy


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


@pytest.mark.parametrize(("name", "value", "said"), [
    ("per_row", 0, "per_row must be a whole number of at least 1 and at most 10,000, not 0"),
    ("per_row", 1.5, "per_row must be a whole number"),
    ("seed", -1, "seed must be a whole number from 0 to 4294967295, not -1"),
    ("seed", "x", "seed must be a whole number"),
    ("target_kl", float("nan"), "target_kl must be a number above 0, not nan"),
    ("target_kl", "far", "target_kl must be a number above 0, not 'far'"),
    ("choose", True, "choose must be PseudoOutcomes of other rows, or None"),
    ("reference", 3, "reference must be a policy, and int has no 'log_prob'"),
    ("directory", "a\0b", "NUL byte"),
    ("objective", None, "objective: None is neither a name"),
    ("objective", {"name": "dr_cpo", "kl": "high"}, "kl must be a number, not 'high'"),
    ("backend", {"name": "finite", "max_kl": float("inf")}, "max_kl must be a number or null, not inf"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_what_optimize_is_told(data: co.DirectOutcomeDataset, name: str, value: object, said: str) -> None:
    pseudo = co.PseudoOutcomeEstimator(outcome_model="zero", assignment_model="randomized").fit_transform(data)
    with pytest.raises(CausalOptError, match=said):
        co.optimize(pseudo, **{"backend": "finite", name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value", "said"), [
    ("estimators", "dr", "estimators must be a list with at least one name, not 'dr'"),
    ("estimators", [], "estimators must be a list"),
    ("estimators", [3], "each of estimators must be a name, not 3"),
    ("draws", 0, "draws must be a whole number of at least 2"),
    ("draws", float("nan"), "draws must be a whole number"),
    ("level", 1, "level must be a number above 0 and below 1, not 1"),
    ("level", "x", "level must be a number"),
    ("seed", -1, "seed must be a whole number from 0"),
    ("reference", 3, "reference must be a policy"),
    ("groups", "age", "groups must be a list of covariates, not 'age'"),
    ("groups", 3, "groups must be a list of covariates, not 3"),
    ("population", "all", "population must be a Population, not 'all'"),
])  # fmt: skip
def test_what_evaluate_is_told(data: co.DirectOutcomeDataset, name: str, value: object, said: str) -> None:
    given = {"policy": LoggedPolicy(), "data": data, "reference": LoggedPolicy(), name: value}
    with pytest.raises(CausalOptError, match=said):
        co.evaluate(**given)  # type: ignore[arg-type]


def test_a_level_a_threshold_and_arrays_that_are_none() -> None:
    x = np.arange(10.0)
    for call in (
        lambda: dm(x).confint("x"),  # type: ignore[arg-type]
        lambda: dm(x).confint(float("nan")),
        lambda: dm([[1.0], [1.0, 2.0]]),
        lambda: snipw(x / 10, x, cluster=[[1], [1, 2]]),
        lambda: clipped_ipw(x / 10, x, clip="high"),  # type: ignore[arg-type]
        lambda: switch_dr(x / 10, x, x, x, tau="high"),  # type: ignore[arg-type]
        lambda: dr_os(x / 10, x, x, x, lam=[1]),  # type: ignore[arg-type]
    ):
        with pytest.raises(CausalOptError):
            call()
