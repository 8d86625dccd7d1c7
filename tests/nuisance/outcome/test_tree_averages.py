import lightgbm
import numpy as np
import pytest

from causalopt.nuisance.outcome.tree_averages import LeafSum


@pytest.fixture
def fitted():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(400, 3)), rng.normal(size=(400, 2))
    w[:, 1] = rng.integers(0, 3, 400)  # zeros and ties among the thresholds
    y = x[:, 0] * w[:, 0] + np.abs(x[:, 1]) + (w[:, 1] == 0)
    parameters = {"num_leaves": 12, "use_missing": False, "verbosity": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(np.hstack([x, w]), y), num_boost_round=30)
    return booster, x, w


def test_prediction_is_lightgbms_own(fitted):
    booster, x, w = fitted
    np.testing.assert_allclose(LeafSum.of(booster, 3).predict(x, w), booster.predict(np.hstack([x, w])), atol=1e-12)


def test_prediction_at_the_very_thresholds(fitted):
    booster, x, w = fitted
    table = booster.trees_to_dataframe().dropna(subset=["threshold"])
    rows = np.hstack([x, w])[: len(table)].copy()
    table = table.iloc[: len(rows)]
    for i, (feature, threshold) in enumerate(zip(table["split_feature"], table["threshold"], strict=True)):
        rows[i, int(feature.removeprefix("Column_"))] = threshold
    np.testing.assert_allclose(LeafSum.of(booster, 3).predict(rows[:, :3], rows[:, 3:]), booster.predict(rows))


def test_averages_are_those_of_all_pairs(fitted):
    booster, x, w = fitted
    leaves = LeafSum.of(booster, 3, scale=0.7)
    weight = np.random.default_rng(1).random(50)
    pairs = np.hstack([np.repeat(x[:40], 50, axis=0), np.tile(w[:50], (40, 1))])
    table = 0.7 * booster.predict(pairs).reshape(40, 50)
    np.testing.assert_allclose(leaves.marginal(x[:40], w[:50], weight), table @ weight / weight.sum(), atol=1e-12)
    np.testing.assert_allclose(leaves.reader_response(x[:40], w[:50]), table.mean(axis=0), atol=1e-12)


def test_table_of_all_pairs_is_lightgbms_own(fitted):
    booster, x, w = fitted
    pairs = np.hstack([np.repeat(x[:40], 50, axis=0), np.tile(w[:50], (40, 1))])
    table = LeafSum.of(booster, 3, scale=0.7).pairs(x[:40], w[:50])
    np.testing.assert_allclose(table, 0.7 * booster.predict(pairs).reshape(40, 50), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "is_sum"),
    [
        ({}, True),
        ({"objective": "huber"}, False),  # only least squares is sure to have no link
        ({"objective": "poisson"}, False),
        ({"reg_sqrt": True}, False),
        ({"boosting_type": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}, False),
        ({"linear_tree": True}, False),
        ({"zero_as_missing": True}, False),
        ({"categorical_feature": [4]}, False),
    ],
)
def test_a_regressor_is_read_only_if_it_is_a_sum_of_leaves(fitted, settings, is_sum):
    _, x, w = fitted
    rows, y = np.hstack([x, w]), np.exp(x[:, 0]) + (w[:, 1] == 0)
    model = lightgbm.LGBMRegressor(n_estimators=10, verbosity=-1, n_jobs=1, **settings).fit(rows, y)
    leaves = LeafSum.of_regressor(model, 3)
    assert (leaves is not None) == is_sum
    if leaves is not None:
        np.testing.assert_allclose(leaves.predict(x, w), model.predict(rows), atol=1e-12)


def test_other_estimators_are_not_read(fitted):
    _, x, w = fitted
    rows = np.hstack([x, w])
    classifier = lightgbm.LGBMClassifier(n_estimators=2, verbosity=-1, n_jobs=1).fit(rows, x[:, 0] > 0)
    assert LeafSum.of_regressor(classifier, 3) is None

    class Doubled(lightgbm.LGBMRegressor):
        def predict(self, *args, **kwargs):
            return 2 * super().predict(*args, **kwargs)

    assert LeafSum.of_regressor(Doubled(n_estimators=2, verbosity=-1, n_jobs=1).fit(rows, x[:, 0]), 3) is None


@pytest.mark.parametrize("side", [-1, 1])
def test_a_tree_with_a_missing_value_on_either_side_is_not_read(fitted, side):
    _, x, w = fitted
    rows, here = np.hstack([x, w]), side * x[:, 0] > 0
    y = 10.0 * here + here * (x[:, 1] > 0)  # the second column splits the rows of one side alone
    settings = {"n_estimators": 1, "num_leaves": 3, "verbosity": -1, "n_jobs": 1}
    assert LeafSum.of_regressor(lightgbm.LGBMRegressor(**settings).fit(rows, y), 3) is not None
    rows[:5, 1] = np.nan
    assert LeafSum.of_regressor(lightgbm.LGBMRegressor(**settings).fit(rows, y), 3) is None


def test_rounds_can_be_cut(fitted):
    booster, x, w = fitted
    expected = booster.predict(np.hstack([x, w]), num_iteration=7)
    np.testing.assert_allclose(LeafSum.of(booster, 3, rounds=7).predict(x, w), expected, atol=1e-12)


def test_no_trees_predict_nothing():
    leaves = LeafSum([], 2)
    assert leaves.predict(np.ones((3, 2)), np.ones((3, 1))).tolist() == [0.0, 0.0, 0.0]
