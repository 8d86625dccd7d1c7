import warnings

import numpy as np
import pytest
from nuisance_laws import additive_and_crossed
from nuisance_learners import Oracle

from causalopt.errors import CausalOptWarning
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.guards import collapsed, wild, worse_than_mean


class Weights:
    """An assignment model whose weights are a function of the row."""

    def __init__(self, function):
        self.function = function

    def fit(self, x, w, weight):
        return self

    def stabilized_weight(self, x, w):
        return self.function(x, w)


class Broken(Oracle):
    def fit(self, x, w, y, weight):
        np.linalg.cholesky(-np.eye(2))


def law():
    return additive_and_crossed(200, 4, seed=0)


def fitted(outcome_model="ridge", assignment_model="randomized", **settings):
    rows = law()
    return cross_fit(rows.x, rows.w, rows.y, outcome_model=outcome_model, assignment_model=assignment_model, **settings)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Oracle(lambda x, w: np.full(len(x), np.nan)), r"40 of its predictions are not finite|80 of its"),
        (Oracle(lambda x, w: 1e6 * x[:, 0]), "far outside the outcomes that it was fitted on"),
        (Oracle(lambda x, w: -0.3 * x.sum(axis=1)), "its held-out loss is .* times that of the mean outcome"),
        (Broken(None), "it cannot be fitted"),
    ],
)
def test_the_mean_stands_in_for_an_outcome_model_that_fails(model, reason):
    rows = law()
    with pytest.warns(CausalOptWarning, match=reason) as said:
        fit = fitted(model)
    assert sum("outcome model" in str(one.message) for one in said) == 1
    assert {failure.nuisance for failure in fit.failures} == {"outcome model"}
    for k in range(5):
        mean = rows.y[fit.fold[0] != k].mean()
        np.testing.assert_allclose(fit.m[fit.fold[0] == k], mean)
        np.testing.assert_allclose(fit.g[fit.fold[0] == k], mean)
        np.testing.assert_allclose(fit.models[0][k].outcome.predict(rows.x[:3], rows.w[:3]), mean)
    np.testing.assert_allclose(fit.dose_response(rows.x[:3]), rows.y.mean(), atol=1e-12)
    np.testing.assert_array_equal(fit.s, 1)


def test_one_wild_fold_leaves_the_others():
    rows = law()
    fold = np.arange(200) % 4
    with pytest.warns(CausalOptWarning, match="in fold 2 its predictions reach"):
        fit = fitted(Oracle(lambda x, w: rows.y.mean() + 1e6 * (x[:, 0] == rows.x[2, 0])), fold=fold)
    np.testing.assert_allclose(fit.m[fold == 2], rows.y[fold != 2].mean())
    np.testing.assert_allclose(fit.m[fold != 2], rows.y.mean())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, w: np.full(len(x), 0.5), "the mean of its weights is 0.5"),
        (lambda x, w: np.zeros(len(x)), "200 of its 200 weights are not positive and finite"),
        (lambda x, w: np.where(x[:, 0] > 1, np.inf, 1.0), "weights are not positive and finite"),
        (lambda x, w: np.where(x[:, 0] > 2, 1e8, 0.9), r"of the mass of its weights is above 20"),
        (lambda x, w: np.where(np.abs(x[:, 0]) > np.sort(np.abs(law().x[:, 0]))[-9], 20.0, 1e-6), "200 rows count as"),
    ],
)
def test_weights_that_collapse_leave_the_outcome_model_alone(function, reason):
    """s = 0 is no correction; s = 1 would say that texts were assigned at random."""
    rows = law()
    with pytest.warns(CausalOptWarning, match=reason):
        fit = fitted(assignment_model=Weights(function))
    assert [failure.nuisance for failure in fit.failures] == ["assignment model"]
    np.testing.assert_array_equal(fit.s, 0)
    np.testing.assert_allclose(fit.m, fitted().m)
    assert np.corrcoef(fit.g, rows.x[:, 0])[0, 1] > 0


def test_without_a_correction_the_value_of_a_prompt_asked_once_is_what_its_reader_makes_of_the_text():
    rows = law()
    prompts = {"prompt_id": np.arange(200), "prompt_columns": 2}
    with pytest.warns(CausalOptWarning, match="the mean of its weights"):
        fit = fitted(assignment_model=Weights(lambda x, w: np.full(len(x), 0.5)), **prompts)
    np.testing.assert_allclose(fit.g, fit.m)
    assert np.isfinite(rows.y - fit.m).all()


def test_a_candidate_that_does_not_fail_is_chosen_before_one_that_does():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fitted(
            [Oracle(lambda x, w: np.full(len(x), np.nan)), "ridge"],
            [Weights(lambda x, w: np.full(len(x), np.nan)), "randomized"],
        )
    assert fit.failures == ()
    np.testing.assert_allclose(fit.m, fitted().m)
    np.testing.assert_array_equal(fit.s, 1)


def test_a_loss_hardly_above_that_of_the_mean_is_no_failure():
    """m is y or -y by turns, with twice the loss of the mean; at a tenth of the size with 1.01 times."""
    y, sign, zero, one = np.tile([1.0, 1.0, -1.0, -1.0], 50), np.tile([1.0, -1.0], 100), np.zeros(200), np.ones(200)
    assert (
        worse_than_mean(y, sign * y, zero, one, np.arange(200))
        == "its held-out loss is 2 times that of the mean outcome"
    )
    assert worse_than_mean(y, 0.1 * sign * y, zero, one, np.arange(200)) is None


def test_the_error_of_a_loss_counts_clusters_and_not_rows():
    """Ten texts of twenty equal rows: m = c y has an excess of c^2 - 2 c, 0.45 in the mean, with the error of ten."""
    c = np.repeat([-0.5] * 6 + [0.5] * 4, 20)
    y, zero, one = np.tile([1.0, -1.0], 100), np.zeros(200), np.ones(200)
    excess = c**2 - 2 * c
    assert 2 * excess.std() / np.sqrt(200) < excess.mean() < 2 * excess.std() / np.sqrt(10)
    assert worse_than_mean(y, c * y, zero, one, np.arange(200)) is not None
    assert worse_than_mean(y, c * y, zero, one, np.arange(200) // 20) is None


def test_a_constant_outcome_and_a_prediction_of_it_are_no_failure():
    assert wild(np.full(5, 3.0 + 1e-12), np.full(9, 3.0)) is None
    assert wild(np.array([1.4, -0.4]), np.array([0.0, 1.0])) is None
    assert wild(np.array([1.6]), np.array([0.0, 1.0])) is not None
    assert collapsed(np.ones(12), np.ones(12), 20.0) is None


def test_no_outcome_model_is_a_choice_and_no_failure():
    rows = law()
    fit = cross_fit(rows.x, rows.w, rows.y + 100, outcome_model="zero", assignment_model="randomized")
    assert fit.failures == ()
    np.testing.assert_array_equal(fit.m, 0)


def test_a_fold_without_a_second_text_to_learn_from_has_no_weight_and_does_not_claim_randomisation():
    rng = np.random.default_rng(0)
    text, w, y = np.arange(100) % 2, rng.normal(size=(100, 1)), rng.normal(size=100)
    x = np.eye(2)[text]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = cross_fit(x, w, y, group=text, folds=2, outcome_model="ridge", assignment_model="gaussian")
    assert any("there is a single text outside fold 0" in str(one.message) for one in said)
    np.testing.assert_array_equal(fit.s, 0)


def test_a_model_that_cannot_be_fitted_to_one_fold_leaves_no_weight():
    class Singular:
        def fit(self, x, w, weight):
            if len(x) % 2:
                raise np.linalg.LinAlgError("singular")
            return self

        def stabilized_weight(self, x, w):
            return np.ones(len(x))

    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(101, 2)), rng.normal(size=(101, 1))
    y = w[:, 0] + rng.normal(size=101)
    with pytest.warns(CausalOptWarning, match=r"it cannot be fitted in fold . \(singular\).*outcome model alone"):
        found = cross_fit(x, w, y, outcome_model="ridge", assignment_model=Singular())
    assert (found.s == 0).all()
