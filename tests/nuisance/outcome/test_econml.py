"""The adapter gives EconML's own effects, and m and g that agree with them."""

import econml.dml as econml_dml
import numpy as np
import pytest
from nuisance_laws import additive_and_crossed
from sklearn.linear_model import LassoCV, LogisticRegression, RidgeCV

from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.outcome.econml import EconMLOutcome


def crossed(n=600, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, 1))
    x = rng.normal(size=(n, 3)) + 0.5 * w
    m = x[:, 0] * (1 + w[:, 0]) + x[:, 1] + 2 * w[:, 0]
    return x, w, m + 0.3 * rng.normal(size=n), m


def test_differences_between_texts_are_econmls_effects():
    x, w, y, _ = crossed()
    model = EconMLOutcome("LinearDML").fit(x, w, y, np.ones(600))
    u = model.coordinates_.transform(x)
    for i, j in ((0, 1), (5, 9)):
        of_text = model.predict(np.repeat(x[[j]], 600, axis=0), w) - model.predict(np.repeat(x[[i]], 600, axis=0), w)
        of_econml = model.model_.effect(w, T0=np.tile(u[i], (600, 1)), T1=np.tile(u[j], (600, 1)))
        np.testing.assert_allclose(of_text, of_econml, atol=1e-10)
        g = model.marginal(x[[i, j]], w, np.ones(600))
        assert g[1] - g[0] == pytest.approx(np.mean(of_econml), abs=1e-10)


def test_residuals_are_econmls_own_composition():
    """m(x, w) = E[Y|w] + theta(w)'(t - E[t|w]) from the public attributes of a fit that the test makes itself."""
    x, w, y, _ = crossed()
    first = {"model_y": RidgeCV(), "model_t": RidgeCV()}
    model = EconMLOutcome(econml_dml.LinearDML(**first, random_state=0)).fit(x, w, y, np.ones(600))
    u = model.coordinates_.transform(x)
    own = econml_dml.LinearDML(**first, random_state=0, cv=model.model_.cv).fit(y, u, X=w)
    effect = own.const_marginal_effect(w)
    y_hat = np.mean([f.predict(w) for f in own.models_y[0]], axis=0).ravel()
    t_hat = np.mean([f.predict(w) for f in own.models_t[0]], axis=0)
    np.testing.assert_allclose(model.predict(x, w), y_hat + np.sum(effect * (u - t_hat), axis=1), atol=1e-8)


@pytest.mark.parametrize(
    ("name", "settings", "bar"),
    [
        ("LinearDML", {}, 0.05),
        ("DML", {}, 0.05),
        ("DML", {"model_final": LassoCV(fit_intercept=False)}, 0.06),
        ("CausalForestDML", {"n_estimators": 40, "inference": False, "n_jobs": 1}, 0.3),
    ],
)
def test_vector_treatments_recover_the_law(name, settings, bar):
    x, w, y, m = crossed()
    model = EconMLOutcome(name, settings).fit(x, w, y, np.ones(600))
    assert np.mean((model.predict(x, w) - m) ** 2) < bar * m.var()
    g = model.marginal(x, w, np.ones(600))
    truth = x[:, 0] + x[:, 1]
    assert np.std(g - truth) < 0.3 * np.std(truth)


def test_averages_are_exact():
    x, w, y, _ = crossed()
    model = EconMLOutcome("LinearDML").fit(x, w, y, np.ones(600))
    weight = np.random.default_rng(1).random(20)
    table = np.array([model.predict(np.repeat(x[i : i + 1], 20, axis=0), w[:20]) for i in range(10)])
    np.testing.assert_allclose(model.marginal(x[:10], w[:20], weight), table @ weight / weight.sum())
    np.testing.assert_allclose(model.reader_response(x[:10], w[:20]), table.mean(axis=0))


def test_without_covariates():
    law = additive_and_crossed(300, 4, seed=0)
    none = np.zeros((300, 0))
    model = EconMLOutcome("LinearDML").fit(law.x, none, law.y, np.ones(300))
    slopes = np.linalg.lstsq(np.c_[np.ones(300), law.x], law.y)[0][1:]
    moved = model.predict(law.x + np.array([1.0, 0, 0, 0]), none) - model.predict(law.x, none)
    np.testing.assert_allclose(moved, slopes[0], atol=0.1)
    with pytest.raises(ConfigError, match="needs covariates"):
        EconMLOutcome("CausalForestDML").fit(law.x, none, law.y, np.ones(300))


@pytest.mark.parametrize("name", ["LinearDRLearner", "DRLearner"])
def test_arms(name):
    rng = np.random.default_rng(0)
    codes = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    w = rng.normal(size=(1500, 1))
    arm = rng.integers(0, 3, 1500)
    m = np.array([0.0, 1.0, 2.0])[arm] + np.array([0.0, 0.0, 1.0])[arm] * w[:, 0] + w[:, 0]
    y = m + 0.3 * rng.normal(size=1500)
    model = EconMLOutcome(name, {"model_propensity": LogisticRegression()}).fit(codes[arm], w, y, np.ones(1500))
    np.testing.assert_allclose(np.diff(model.marginal(codes, w, np.ones(1500))), [1, 1], atol=0.1)
    first, last = model.arms_.codes(codes[[0, 2]])
    effect = model.model_.effect(w, T0=first, T1=last)
    of_text = model.predict(codes[np.full(1500, 2)], w) - model.predict(codes[np.zeros(1500, int)], w)
    np.testing.assert_allclose(of_text, effect, atol=1e-10)
    with pytest.raises(DataError, match="not among the arms"):
        model.predict(np.array([[5.0, 5.0]]), w[:1])


def test_in_cross_fitting_as_it_comes():
    x, w, y, _ = crossed(300)
    estimator = econml_dml.LinearDML(model_y=RidgeCV(), model_t=RidgeCV(), random_state=0)
    fit = cross_fit(x, w, y, outcome_model=estimator, assignment_model="randomized", folds=3)
    for k in range(3):
        train, test = fit.fold[0] != k, fit.fold[0] == k
        alone = EconMLOutcome(estimator).fit(x[train], w[train], y[train], np.ones(train.sum()))
        np.testing.assert_allclose(fit.m[test], alone.predict(x[test], w[test]))
    assert fit.scores["model"].unique().tolist() == ["LinearDML", "randomized"]


def test_bad_input():
    rng = np.random.default_rng(0)
    x, w, y = rng.normal(size=(80, 2)), rng.normal(size=(80, 1)), rng.normal(size=80)
    with pytest.raises(ConfigError, match="EconML has no estimator 'LinaerDML'"):
        EconMLOutcome("LinaerDML")
    with pytest.raises(ConfigError, match="unexpected keyword argument"):
        EconMLOutcome("LinearDML", {"model_x": 1})
    with pytest.raises(ConfigError, match="is not among the supported EconML estimators"):
        EconMLOutcome(LogisticRegression())
    with pytest.raises(ConfigError, match="at most 50 texts"):
        EconMLOutcome("LinearDRLearner").fit(x, w, y, np.ones(80))
    with pytest.raises(DataError, match="all rows have the same text"):
        EconMLOutcome().fit(np.ones((80, 2)), w, y, np.ones(80))
    with pytest.raises(DataError, match="an arm has 1 training rows"):
        EconMLOutcome("LinearDRLearner").fit(np.r_[np.ones((79, 2)), np.zeros((1, 2))], w, y, np.ones(80))
