"""Optimisation where some readers do not respond: residuals, the second stage, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import causalopt as co
from causalopt.errors import DataError
from causalopt.optimization.problem import policy_problem
from causalopt.optimization.second_stage import expected_residual
from causalopt.simulation import VoluntaryFeedbackWorld

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


@pytest.fixture(scope="module")
def world() -> VoluntaryFeedbackWorld:
    return VoluntaryFeedbackWorld(response=0.3, selectivity=1.0, seed=0)


@pytest.fixture(scope="module")
def pseudo(world):
    estimator = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="randomized")
    return estimator.fit_transform(world.sample(800, seed=1))


def test_the_problem_has_numbers_for_every_row(pseudo):
    data = pseudo.dataset
    problem = policy_problem(pseudo, np.zeros(len(pseudo)), None)
    assert np.isfinite(problem.residual).all()
    assert (problem.residual[~data.rated] == 0).all()
    scale = np.std(data.outcome[data.rated])
    np.testing.assert_allclose(problem.residual * scale, pseudo.residual)
    np.testing.assert_allclose(problem.g * scale, pseudo.g - pseudo.g.mean())


def test_the_second_stage_is_a_regression_over_those_who_responded(pseudo):
    """Each weighted by 1 / pi; what the others would have said has no part in it, and all rows get a prediction."""
    data = pseudo.dataset
    problem = policy_problem(pseudo, np.zeros(len(pseudo)), None, second_stage="ridge-text")
    x = pseudo.fitted().embed(data.prompts, data.texts)
    text = pseudo.fitted().index.ids(None, data.texts)
    anything = np.where(data.rated, pseudo.s * pseudo.error, 1e3)
    expected = expected_residual(x, anything, pseudo.observation_weight, pseudo.fold, text, "ridge-text")
    np.testing.assert_allclose(problem.residual * data.outcome_mean_and_spread()[1], expected, atol=1e-8)


def test_rows_that_all_lack_an_outcome_or_agree_are_refused(pseudo):
    data = pseudo.dataset
    silent = np.zeros(len(data), dtype=bool)
    for observed, outcome, said in (
        (silent, data.outcome * np.nan, "are missing"),
        (data.rated, data.outcome * 0, "are 0"),
    ):
        rows = replace(pseudo, dataset=replace(data, observed=observed, outcome=outcome))
        with pytest.raises(DataError, match=f"all outcomes of the 800 training rows {said}"):
            policy_problem(rows, np.zeros(800), None)
