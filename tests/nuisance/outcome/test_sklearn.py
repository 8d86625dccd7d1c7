import numpy as np
import pytest
from lightgbm import LGBMRegressor
from nuisance_laws import additive_and_crossed
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from causalopt.errors import ConfigError, DataError
from causalopt.nuisance import models
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.outcome.averaging import mean_over_readers
from causalopt.nuisance.outcome.sklearn import SklearnOutcome


def test_a_linear_regression_averages_to_itself_at_the_mean_reader():
    law = additive_and_crossed(300, 4, seed=0)
    weight = np.random.default_rng(1).random(300)
    model = SklearnOutcome(LinearRegression(), readers=300).fit(law.x, law.w, law.y, weight)
    plain = LinearRegression().fit(np.hstack([law.x, law.w]), law.y, sample_weight=weight)
    np.testing.assert_allclose(model.predict(law.x, law.w), plain.predict(np.hstack([law.x, law.w])))
    reader = np.tile(np.average(law.w, axis=0, weights=weight), (300, 1))
    g, error = model.marginal_with_error(law.x, law.w, weight)
    np.testing.assert_allclose(g, plain.predict(np.hstack([law.x, reader])))
    assert not error.any()


def test_a_classifier_gives_the_probability_in_outcome_units():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(400, 2)), rng.normal(size=(400, 1))
    clicked = rng.random(400) < 1 / (1 + np.exp(-x[:, 0] - w[:, 0]))
    plain = LogisticRegression().fit(np.hstack([x, w]), clicked).predict_proba(np.hstack([x, w]))[:, 1]
    ours = SklearnOutcome("sklearn.linear_model.LogisticRegression").fit(x, w, clicked.astype(float), np.ones(400))
    np.testing.assert_allclose(ours.predict(x, w), plain)
    scaled = SklearnOutcome(LogisticRegression()).fit(x, w, np.where(clicked, 5.0, 1.0), np.ones(400))
    np.testing.assert_allclose(scaled.predict(x, w), 1 + 4 * plain)


def test_weights_reach_a_pipeline():
    law = additive_and_crossed(200, 4, seed=0)
    weight = np.r_[np.full(100, 1e-9), np.ones(100)]
    pipeline = make_pipeline(StandardScaler(), LinearRegression())
    model = SklearnOutcome(pipeline).fit(law.x, law.w, law.y, weight)
    half = LinearRegression().fit(np.hstack([law.x, law.w])[100:], law.y[100:])
    np.testing.assert_allclose(model.predict(law.x, law.w), half.predict(np.hstack([law.x, law.w])), atol=1e-4)
    assert not hasattr(pipeline.steps[-1][1], "coef_"), "the estimator that was passed stays as it was"


def test_counts():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2000, 2)), rng.normal(size=(2000, 1))
    y = rng.poisson(np.exp(0.5 * x[:, 0] + 0.5 * w[:, 0])).astype(float)
    model = SklearnOutcome(PoissonRegressor(alpha=1e-6), readers=2000).fit(x, w, y, np.ones(2000))
    text = np.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(model.marginal(text, w, np.ones(2000)), np.exp([0.125, 0.625]), rtol=0.1)


def test_any_estimator_is_wrapped_and_its_sampling_error_is_kept():
    law = additive_and_crossed(300, 4, seed=0)
    forest = RandomForestRegressor(20, min_samples_leaf=5, n_jobs=1)
    fit = cross_fit(law.x, law.w, law.y, outcome_model=forest, assignment_model="randomized", folds=3)
    errors = fit.scores.loc[fit.scores["nuisance"] == "outcome", "marginal_error"]
    assert ((errors > 0) & (errors < 0.3 * np.std(law.y))).all()
    assert np.corrcoef(fit.m, law.m)[0, 1] > 0.8
    again = cross_fit(law.x, law.w, law.y, outcome_model=forest, assignment_model="randomized", folds=3)
    np.testing.assert_array_equal(fit.m, again.m)
    assert fit.reader_response(law.x[:50]).shape == (300,)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ("os.system", "must be the path of a class in scikit-learn"),
        ("sklearn.linear_model.Rigde", "there is no estimator"),
        (LinearSVC(), "has no predict_proba"),
        (StandardScaler(), "has no fit and predict"),
    ],
)
def test_what_is_no_estimator(estimator, message):
    with pytest.raises(ConfigError, match=message):
        SklearnOutcome(estimator)


def test_settings_that_do_not_exist():
    with pytest.raises(ConfigError, match="unexpected keyword argument 'depth'"):
        SklearnOutcome("sklearn.tree.DecisionTreeRegressor", {"depth": 3})
    with pytest.raises(ConfigError, match="settings go with the name of a class"):
        SklearnOutcome(LinearRegression(), {"fit_intercept": False})


def test_weights_are_never_dropped_and_classes_must_be_two():
    x, w, y = np.arange(8.0)[:, None], np.zeros((8, 0)), np.arange(8.0)
    SklearnOutcome(KNeighborsRegressor(2)).fit(x, w, y, np.ones(8))
    with pytest.raises(ConfigError, match="takes no sample_weight"):
        SklearnOutcome(KNeighborsRegressor(2)).fit(x, w, y, np.arange(1.0, 9.0))
    with pytest.raises(DataError, match=r"needs a binary outcome; the 8 training rows have 8 distinct values"):
        SklearnOutcome(LogisticRegression()).fit(x, w, y, np.ones(8))
    with pytest.raises(DataError, match="have 1 distinct values"):
        SklearnOutcome(LogisticRegression()).fit(x, w, np.ones(8), np.ones(8))


def test_what_is_no_model():
    with pytest.raises(ConfigError, match="object is not an outcome model"):
        models.outcome_model(object())
    with pytest.raises(ConfigError, match="needs a 'name'"):
        models.assignment_model({})
    with pytest.raises(ConfigError, match="no candidate to choose the outcome model from"):
        cross_fit(np.arange(6.0)[:, None], None, np.arange(6.0), outcome_model=[], folds=2)


@pytest.mark.parametrize("known", [5, 80])
def test_average_of_lightgbm_over_readers_is_that_of_its_predictions(known, monkeypatch):
    """The trees are read in place of predicting every pair: the same sample of readers, and the same error."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(300, 3)), rng.normal(size=(known, 2))[rng.integers(0, known, 300)]
    y = np.abs(x[:, 0]) * w[:, 0] + w[:, 1] ** 2
    estimator = LGBMRegressor(n_estimators=20, verbosity=-1, n_jobs=1)
    model = SklearnOutcome(estimator, readers=40).fit(x, w, y, np.ones(300))
    weight = rng.random(300)
    expected = mean_over_readers(model.predict, x[:30], w, weight, readers=40)
    monkeypatch.setattr(LGBMRegressor, "predict", None)  # it is slow
    mean, error = model.marginal_with_error(x[:30], w, weight)
    np.testing.assert_allclose(mean, expected[0], atol=1e-12)
    np.testing.assert_allclose(error, expected[1], atol=1e-12)
    assert (error.max() > 0.001) == (known > 40)
