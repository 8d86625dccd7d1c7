"""Pseudo-outcomes of two arms give DoubleML's and EconML's average effect: same folds, same nuisances."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

import causalopt as co

N, FOLDS = 500, 4


@pytest.fixture(scope="module")
def study():
    """Confounded arms, and nuisances that the test cross-fits by itself."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(N, 2))
    arm = (rng.random(N) < expit(w[:, 0])).astype(int)
    y = arm * (1 + w[:, 1]) + 2 * w[:, 0] + rng.normal(size=N)
    fold = rng.permutation(N) % FOLDS
    propensity, outcome = np.empty(N), np.empty((N, 2))
    for k in range(FOLDS):
        out = fold == k
        propensity[out] = LogisticRegression().fit(w[~out], arm[~out]).predict_proba(w[out])[:, 1]
        for a in (0, 1):
            own = ~out & (arm == a)
            outcome[out, a] = LinearRegression().fit(w[own], y[own]).predict(w[out])
    return w, arm, y, fold, propensity, outcome


def pseudo_outcomes(w, arm, y, fold, propensity, outcome):
    """Ours, through the public estimator, of two texts."""
    share = np.array([np.mean(arm == 0), np.mean(arm == 1)])
    given = np.where(arm == 1, propensity, 1 - propensity)
    frame = pd.DataFrame({"text": np.array(["one text", "another"])[arm], "outcome": y, "row": range(N)})
    frame[["w1", "w2"]] = w
    data = co.DirectOutcomeDataset.from_frame(frame, covariates=["w1", "w2"], group="row")
    estimator = co.PseudoOutcomeEstimator(max_weight=1e9)
    m, g = outcome[np.arange(N), arm], outcome.mean(axis=0)[arm]
    return estimator.fit_transform(data, m=m, g=g, s=share[arm] / given, fold=fold).xi


def test_the_average_effect_is_doublemls(study):
    doubleml = pytest.importorskip("doubleml")
    w, arm, y, fold, propensity, outcome = study
    data = doubleml.DoubleMLData.from_arrays(w, y, arm.astype(float))
    irm = doubleml.DoubleMLIRM(
        data, LinearRegression(), LogisticRegression(), n_folds=FOLDS, normalize_ipw=False,
        ps_processor_config=doubleml.utils.PSProcessorConfig(clipping_threshold=1e-9),
        draw_sample_splitting=False,
    )  # fmt: skip
    irm.set_sample_splitting([(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)])
    external = {"ml_g0": outcome[:, :1], "ml_g1": outcome[:, 1:], "ml_m": propensity[:, None]}
    irm.fit(external_predictions={"d": external})
    xi = pseudo_outcomes(*study)
    assert xi[arm == 1].mean() - xi[arm == 0].mean() == pytest.approx(irm.coef[0], abs=1e-10)


def econml_learner(study, **roles):
    """EconML's doubly robust learner, fitted on the study's own nuisances and folds."""
    econml_dr = pytest.importorskip("econml.dr")
    w, arm, y, fold, propensity, outcome = study
    position = {row.tobytes(): i for i, row in enumerate(w)}

    class KnownPropensity(ClassifierMixin, BaseEstimator):
        def fit(self, features, target):
            self.classes_ = np.array([0, 1])
            return self

        def predict_proba(self, features):
            p = propensity[[position[row.tobytes()] for row in np.ascontiguousarray(features)]]
            return np.c_[1 - p, p]

        def predict(self, features):
            return self.predict_proba(features).argmax(axis=1)

    class KnownOutcome(RegressorMixin, BaseEstimator):
        def fit(self, features, target):
            self.fitted_ = True
            return self

        def predict(self, features):
            rows = [position[row.tobytes()] for row in np.ascontiguousarray(features[:, :2])]
            return outcome[rows, features[:, 2].astype(int)]

    return econml_dr.LinearDRLearner(
        model_propensity=KnownPropensity(), model_regression=KnownOutcome(), min_propensity=1e-9,
        cv=[(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)], random_state=0,
    ).fit(y, arm, inference=None, **roles)  # fmt: skip


def test_the_average_effect_is_econmls(study):
    learner = econml_learner(study, W=study[0])
    arm, xi = study[1], pseudo_outcomes(*study)
    assert xi[arm == 1].mean() - xi[arm == 0].mean() == pytest.approx(float(learner.ate(T0=0, T1=1)), abs=1e-10)


def test_the_pseudo_outcome_of_every_row_is_econmls(study):
    """EconML regresses its pseudo-outcomes on the covariates: the same slopes from ours need the same rows.

    Its pseudo-outcome of an arm has the reader's own prediction where ours has the mean over readers; the weighted
    residual, which is xi - g here, is the same.
    """
    w, arm, _, _, _, outcome = study
    residual = pseudo_outcomes(*study) - outcome.mean(axis=0)[arm]
    share = np.array([np.mean(arm == 0), np.mean(arm == 1)])
    of_arm = [outcome[:, a] + (arm == a) / share[a] * residual for a in (0, 1)]
    ours = np.linalg.lstsq(np.c_[np.ones(N), w], of_arm[1] - of_arm[0])[0]
    learner = econml_learner(study, X=w)
    np.testing.assert_allclose(ours[1:], learner.coef_(T=1), rtol=0, atol=1e-10)
    assert ours[0] == pytest.approx(float(learner.intercept_(T=1)), abs=1e-10)
