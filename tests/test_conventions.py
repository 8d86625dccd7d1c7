"""scikit-learn's conventions: settings are attributes, a clone has them, and the repr shows what is not a default."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Lasso, LinearRegression

import causalopt as co
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.nuisance.assignment.arms import ArmsAssignment
from causalopt.nuisance.assignment.auto import AutoAssignment
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.assignment.randomized import RandomizedAssignment
from causalopt.nuisance.outcome.econml import EconMLOutcome
from causalopt.nuisance.outcome.elastic_net import ElasticNetOutcome
from causalopt.nuisance.outcome.ridge import RidgeOutcome
from causalopt.nuisance.outcome.sklearn import SklearnOutcome
from causalopt.nuisance.outcome.trees import LightGBMOutcome, RidgeLightGBMOutcome, ZeroOutcome

ESTIMATORS = [
    TfidfSvdEmbedder(dimensions=8),
    ArmsAssignment(seed=3),
    AutoAssignment(seed=3),
    ClassifierAssignment(rounds=10),
    GaussianAssignment(sample=50),
    RandomizedAssignment(),
    EconMLOutcome("LinearDML", {"fit_cate_intercept": False}, folds=2),
    ElasticNetOutcome(seed=3),
    RidgeOutcome(products=4),
    SklearnOutcome(Lasso(alpha=0.5), readers=10),
    SklearnOutcome("sklearn.linear_model.Ridge", {"alpha": 2.0}),
    LightGBMOutcome(leaves=4),
    RidgeLightGBMOutcome(rounds=10, products=4),
    ZeroOutcome(),
    co.PseudoOutcomeEstimator(outcome_model=RidgeOutcome(products=4), folds=3),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def test_a_clone_has_the_settings(estimator: BaseEstimator) -> None:
    copy = clone(estimator)
    assert type(copy) is type(estimator)
    assert copy is not estimator
    assert repr(copy) == repr(estimator)
    settings = estimator.get_params(deep=False)
    assert settings.keys() == copy.get_params(deep=False).keys()
    for name in settings:
        assert repr(getattr(copy, name)) == repr(getattr(estimator, name)), name


def test_the_repr_shows_what_is_not_a_default() -> None:
    assert repr(RidgeLightGBMOutcome(rounds=10, products=4)) == "RidgeLightGBMOutcome(products=4, rounds=10)"
    assert repr(co.PseudoOutcomeEstimator(folds=3)) == "PseudoOutcomeEstimator(folds=3)"


def test_a_setting_that_is_changed_is_used() -> None:
    x, w, y = np.arange(20.0)[:, None], np.zeros((20, 0)), np.arange(20.0) ** 2
    changed = SklearnOutcome(Lasso()).set_params(estimator=LinearRegression()).fit(x, w, y, np.ones(20))
    np.testing.assert_allclose(changed.predict(x, w), LinearRegression().fit(x, y).predict(x))
    model = RidgeLightGBMOutcome().set_params(rounds=7)
    assert model.rounds == 7
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(round=7)
