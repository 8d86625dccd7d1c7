import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from nuisance_laws import additive_and_crossed, gaussian_texts
from nuisance_learners import Always, Oracle, Recorder
from sklearn.ensemble import RandomForestRegressor

from causalopt.errors import CausalOptWarning, ConfigError, DataError, ModelError, OverlapWarning, TruncationWarning
from causalopt.nuisance.cross_fitting import Rows, cross_fit, truncate
from causalopt.nuisance.outcome.trees import RidgeOutcome


def r_squared(y, m):
    return 1 - np.mean((y - m) ** 2) / np.var(y)


@pytest.mark.filterwarnings("ignore:outcome model RandomForestRegressor. its held-out loss")
@pytest.mark.parametrize("model", ["ridge", "ridge-lightgbm", RandomForestRegressor(20, n_jobs=1, random_state=0)])
def test_no_leak_through_texts_that_are_rated_often(model):
    """Each text has a level of its own that nothing foretells: only a model that has seen the text can know it."""
    rng = np.random.default_rng(0)
    text = np.repeat(np.arange(60), 20)
    x = rng.normal(size=(60, 32))[text]
    y = rng.normal(size=60)[text] + 0.5 * rng.normal(size=1200)
    settings = {"outcome_model": model, "assignment_model": "randomized"}
    by_text = cross_fit(x, None, y, group=text, **settings)
    assert r_squared(y, by_text.m) < 0.05
    with pytest.warns(CausalOptWarning, match="split 60 of 60 groups"):
        by_row = cross_fit(x, None, y, group=text, fold=rng.permutation(1200) % 5, **settings)
    if isinstance(model, RandomForestRegressor):  # the others look for themselves what holds for other texts: nothing
        assert r_squared(y, by_row.m) > 0.15


def test_the_default_folds_hold_no_row_of_the_training_rows_groups():
    law = additive_and_crossed(200, 4, seed=0)
    group = np.arange(200) // 4
    fit = cross_fit(law.x, law.w, law.y, group=group, outcome_model=Recorder(), assignment_model="randomized")
    for k in range(5):
        out = fit.fold[0] == k
        assert not set(group[out]) & set(group[~out])
        np.testing.assert_allclose(fit.m[out], law.y[~out].mean() + law.w[out].sum(axis=1))
        np.testing.assert_allclose(fit.g[out], law.y[~out].mean() + law.w[~out].sum(axis=1).mean())
        assert fit.models[0][k].outcome.rows == (~out).sum()


def test_learners_are_compared_by_exposure():
    """Rows of one fold count for hardly anything, and there the wrong learner would win."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    fold = np.repeat([0, 1], [300, 100])
    weight = np.where(fold == 0, 0.01, 10.0)
    level = {0: 0.0, 1: 3.0}
    y = np.where(fold == 0, level[0], level[1]) + rng.normal(size=400)
    fit = cross_fit(x, None, y, weight, outcome_model=[Always(0.0), Always(3.0)], fold=fold)
    np.testing.assert_array_equal(fit.m, 3.0)


def test_without_covariates_the_weight_is_one_and_g_is_m_exactly():
    law = additive_and_crossed(200, 4, seed=0)
    for model in ("ridge", "ridge-lightgbm", "zero"):
        fit = cross_fit(law.x, None, law.y, outcome_model=model, assignment_model="gaussian")
        np.testing.assert_array_equal(fit.s, 1)
        np.testing.assert_array_equal(fit.g, fit.m)
        assert fit.models[0][0].assignment is None


def test_repeats_give_the_median():
    law = additive_and_crossed(150, 4, seed=0)
    fit = cross_fit(law.x, law.w, law.y, outcome_model="ridge", repeats=3, seed=7)
    alone = [cross_fit(law.x, law.w, law.y, outcome_model="ridge", fold=fold) for fold in fit.fold]
    for name in ("m", "g", "s"):
        np.testing.assert_allclose(getattr(fit, name), np.median([getattr(a, name) for a in alone], axis=0))
    expected = np.median([a.dose_response(law.x[:9]) for a in alone], axis=0)
    np.testing.assert_allclose(fit.dose_response(law.x[:9]), expected)
    assert len(fit.scores) == 3 * 5 * 2
    np.testing.assert_array_equal(fit.fold[0], cross_fit(law.x, law.w, law.y, outcome_model="ridge", seed=7).fold[0])


def test_the_candidate_with_the_smallest_held_out_loss_is_used_and_all_scores_are_kept():
    law = additive_and_crossed(400, 6, seed=0)
    fit = cross_fit(
        law.x, law.w, law.y, outcome_model=["zero", {"name": "ridge"}, Recorder()],
        assignment_model={"name": "best-of", "candidates": ["randomized", "gaussian"]},
    )  # fmt: skip
    chosen = fit.scores[fit.scores["chosen"]].groupby("nuisance")["model"].unique()
    assert chosen["outcome"].tolist() == ["ridge"]
    assert chosen["assignment"].tolist() == ["gaussian"]
    assert len(fit.scores) == 5 * 5
    alone = cross_fit(law.x, law.w, law.y, outcome_model="ridge", assignment_model="gaussian")
    np.testing.assert_array_equal(fit.m, alone.m)
    np.testing.assert_array_equal(fit.s, alone.s)
    first = fit.scores[fit.scores["model"] == "ridge"].iloc[0]
    out = fit.fold[0] == 0
    assert first["loss"] == pytest.approx(np.mean((law.y[out] - fit.m[out]) ** 2))
    assert first["null_loss"] == pytest.approx(np.mean((law.y[out] - law.y[~out].mean()) ** 2))
    randomized = fit.scores[fit.scores["model"] == "randomized"]
    np.testing.assert_allclose(randomized["loss"], np.log(2))
    assert not fit.scores.isna().any().any()


def test_random_assignment_is_chosen_where_it_is_random():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(600, 4)), rng.normal(size=(600, 2))
    fit = cross_fit(x, w, x[:, 0], outcome_model="zero", assignment_model=["randomized", "gaussian"])
    assert np.std(fit.s) < 0.1


def test_permuted_rows_get_the_same_nuisances():
    law = additive_and_crossed(200, 4, seed=0)
    group, order = np.arange(200) // 2, np.random.default_rng(0).permutation(200)
    text = np.arange(200)
    plain = cross_fit(law.x, law.w, law.y, group=group, text_id=text, outcome_model="ridge")
    moved = cross_fit(
        law.x[order], law.w[order], law.y[order], group=group[order], text_id=text[order], outcome_model="ridge"
    )
    for name in ("m", "g", "s"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name)[order], rtol=1e-5, atol=1e-6)


def test_a_weight_of_two_is_a_row_twice_in_every_fit_and_average():
    law = additive_and_crossed(200, 4, seed=0)
    twice = np.r_[np.arange(200), np.arange(80)]
    weight = np.r_[np.full(80, 2.0), np.ones(120)]
    fold = np.arange(200) % 3
    settings = {"outcome_model": "ridge", "assignment_model": "gaussian"}
    weighted = cross_fit(law.x, law.w, law.y, weight, fold=fold, **settings)
    doubled = cross_fit(
        law.x[twice], law.w[twice], law.y[twice], group=twice, text_id=twice, fold=fold[twice], **settings
    )
    plain = cross_fit(law.x, law.w, law.y, fold=fold, **settings)
    for name in ("m", "g", "s"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(doubled, name)[:200], rtol=1e-4, atol=1e-6)
        assert np.abs(getattr(weighted, name) - getattr(plain, name)).max() > 0.01
    np.testing.assert_allclose(weighted.dose_response(law.x), doubled.dose_response(law.x), rtol=1e-4, atol=1e-6)


class TestDoublyRobust:
    """Three texts, a reader with w = +-1 who responds more to all and is shown the worst text more often."""

    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    given: ClassVar = {1.0: np.array([0.6, 0.3, 0.1]), -1.0: np.array([0.1, 0.3, 0.6])}
    effect = np.array([-1.0, 0.0, 1.0])

    def m(self, x, w):
        return x @ (self.effect[:2] - 1) + 1 + 2 * w[:, 0] + 0.5 * x[:, 0] * w[:, 0]

    def replicate(self, outcome_model, right_weights, replications, n=300):
        """Mean of xi at each text in each replication, shape [replications, 3]."""
        means = []
        for seed in range(replications):
            rng = np.random.default_rng([11, seed])
            w = rng.choice([-1.0, 1.0], size=(n, 1))
            text = np.array([rng.choice(3, p=self.given[v]) for v in w[:, 0]])
            y = self.m(self.x[text], w) + rng.normal(size=n)
            marginal = (self.given[1.0] + self.given[-1.0]) / 2
            s = [marginal[t] / self.given[v][t] for t, v in zip(text, w[:, 0], strict=True)]
            fit = cross_fit(self.x[text], w, y, s=s if right_weights else np.ones(n), outcome_model=outcome_model)
            xi = fit.s * (y - fit.m) + fit.g
            # The sum over a text's rows over its true frequency is unbiased; the mean over a random number is not.
            means.append(np.bincount(text, weights=xi, minlength=3) / n / marginal)
        return np.array(means)

    def statistic(self, means):
        return np.abs(means.mean(axis=0) - self.effect) / (means.std(axis=0, ddof=1) / np.sqrt(len(means)))

    def test_right_weights_make_up_for_a_wrong_outcome_model(self):
        """Three two-sided z-tests at 4.5 standard errors: fails with probability 2e-5."""
        assert (self.statistic(self.replicate("zero", True, 100)) < 4.5).all()

    def test_a_right_outcome_model_makes_up_for_wrong_weights(self):
        """Three two-sided z-tests at 4.5 standard errors: fails with probability 2e-5."""
        assert (self.statistic(self.replicate(Oracle(self.m), False, 100)) < 4.5).all()

    def test_nothing_makes_up_for_both(self):
        assert (self.statistic(self.replicate("zero", False, 50))[[0, 2]] > 8).all()


def test_the_estimated_parts_remove_confounding():
    """Slope of xi on the confounded direction of a Gaussian law: naive far off, either nuisance alone repairs it."""
    x, w, _ = gaussian_texts(4000, 4, 1, 0.7, seed=5)
    rng = np.random.default_rng(0)
    direction = np.linalg.lstsq(w, x)[0][0]
    signal = x @ direction / (direction @ direction)
    y = signal - 4 * w[:, 0] + rng.normal(size=4000)

    def slope(xi):
        return np.linalg.lstsq(np.c_[np.ones(4000), x], xi)[0][1:] @ direction

    def xi(outcome_model, assignment_model):
        fit = cross_fit(x, w, y, outcome_model=outcome_model, assignment_model=assignment_model)
        return fit.s * (y - fit.m) + fit.g

    assert slope(y) < 0, "the naive effect has the wrong sign"
    assert slope(xi("ridge", "randomized")) == pytest.approx(1, abs=0.15)
    assert slope(xi("zero", "gaussian")) == pytest.approx(1, abs=0.35)
    assert slope(xi("ridge", "gaussian")) == pytest.approx(1, abs=0.15)


@pytest.mark.filterwarnings("ignore:outcome model ridge. its held-out loss")
def test_a_second_confounded_data_set_for_the_outcome_model_leaves_the_estimate_unbiased():
    """The experiment of Lin et al. (2024): a z-test at 4.5 standard errors, wrong with probability 7e-6."""
    slopes, naive = [], []
    for seed in range(100):
        rng = np.random.default_rng([3, seed])
        hidden = rng.normal(size=400)
        x2 = rng.normal(size=(400, 2)) + np.c_[hidden, np.zeros(400)]
        y2 = x2[:, 0] - 3 * hidden + rng.normal(size=400)
        x = rng.normal(size=(200, 2))
        y = x[:, 0] + rng.normal(size=200)
        others = Rows.of(x2, None, y2, group=np.arange(1000, 1400))
        fit = cross_fit(x, None, y, outcome_model="ridge", outcome_rows=others)
        xi = fit.s * (y - fit.m) + fit.g
        slopes.append(np.mean(xi * x[:, 0]))
        naive.append(np.mean(fit.g * x[:, 0]))
    assert np.mean(naive) < 0, "the second data set alone has the wrong sign"
    assert abs(np.mean(slopes) - 1) < 4.5 * np.std(slopes) / 10


def test_a_text_that_both_data_sets_share_is_scored_by_a_model_that_did_not_see_it():
    law = additive_and_crossed(60, 4, seed=0)
    group = np.arange(60)
    others = Rows.of(law.x, law.w, law.y, group=np.r_[np.arange(30), np.full(30, 777)])
    settings = {"group": group, "outcome_model": Recorder(), "assignment_model": "randomized"}
    fit = cross_fit(law.x, law.w, law.y, **settings, outcome_rows=others)
    for k in range(5):
        held_out = group[fit.fold[0] == k]
        seen = ~np.isin(others.group, held_out)
        assert seen.sum() == 60 - np.sum(held_out < 30)
        assert fit.models[0][k].outcome.mean == pytest.approx(law.y[seen].mean())
    apart = Rows.of(law.x, law.w, law.y, group=np.full(60, 777))
    fit = cross_fit(law.x, law.w, law.y, **settings, outcome_rows=apart)
    assert len({id(f.outcome) for f in fit.models[0]}) == 1, "one fit serves all folds"
    of_readers = fit.readers.outside(0, 0)[0]
    assert len(of_readers) == np.sum(fit.fold[0] != 0), "readers are those of the first data set"


def test_nuisances_from_outside():
    law = additive_and_crossed(100, 4, seed=0)
    s = np.exp(0.1 * law.w[:, 0])
    fit = cross_fit(law.x, law.w, law.y, m=law.m, g=law.g, s=s)
    np.testing.assert_array_equal(fit.m, law.m)
    np.testing.assert_array_equal(fit.g, law.g)
    np.testing.assert_array_equal(fit.s, s)
    assert fit.scores.empty
    with pytest.raises(ModelError, match="m and g came from outside"):
        fit.dose_response(law.x)
    with pytest.raises(ModelError, match="m and g came from outside"):
        fit.reader_response(law.x)
    alone = cross_fit(law.x, law.w, law.y, s=s, outcome_model="ridge")
    np.testing.assert_array_equal(alone.s, s)
    assert np.corrcoef(alone.m, law.m)[0, 1] > 0.9
    only_m = cross_fit(law.x, None, law.y, m=law.m)
    np.testing.assert_array_equal(only_m.g, law.m)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": np.zeros(7), "g": np.zeros(60)}, "m has 7 rows, where the other arrays have 60"),
        ({"s": np.ones(61)}, "s has 61 rows, where the other arrays have 60"),
        ({"m": np.zeros(60), "g": np.r_[np.zeros(59), np.nan]}, r"g\[59\] is nan \(1 such\)"),
        ({"m": np.zeros(60)}, "m and g must come together"),
        ({"s": np.r_[np.ones(5), np.zeros(55)]}, "s is not positive at row 5"),
        ({"y": np.zeros(59)}, "y has 59 rows"),
        ({"y": ["a"] * 60}, "y is not an array of numbers"),
        ({"w": np.zeros(60)}, "w must have two dimensions"),
        ({"x": np.zeros((0, 2)), "y": []}, "x has no rows"),
        ({"group": np.zeros((60, 2))}, "group has shape"),
        ({"group": np.zeros(60)}, "all rows are of one group"),
        ({"text_id": np.zeros(59)}, "text_id has shape"),
        ({"prompt_id": np.zeros(60)}, "prompt_id and prompt_columns come together"),
        ({"prompt_id": np.zeros(60), "prompt_columns": 3}, "prompt_columns is 3, where x has 2 columns"),
        ({"weight": -np.ones(60)}, "weight is negative at row 0"),
        ({"weight": np.r_[1.0, np.zeros(59)]}, "1 of 60 rows have a positive weight"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    rng = np.random.default_rng(0)
    arguments = {"x": rng.normal(size=(60, 2)), "w": rng.normal(size=(60, 1)), "y": rng.normal(size=60), **change}
    with pytest.raises(DataError, match=message):
        cross_fit(**arguments, outcome_model="ridge", assignment_model="randomized")


def test_fewer_groups_than_folds_are_a_fold_each_and_said():
    law = additive_and_crossed(60, 4, seed=0)
    with pytest.warns(CausalOptWarning) as caught:
        fit = cross_fit(law.x, law.w, law.y, group=np.arange(60) // 20, outcome_model="ridge")
    assert any("there are 3 units to assign to 5 folds" in str(one.message) for one in caught)
    assert sorted(np.unique(fit.fold)) == [0, 1, 2]


def test_labels_of_any_kind_are_groups():
    law = additive_and_crossed(60, 4, seed=0)
    names = np.array([f"text {i // 2}" for i in range(60)])
    fit = cross_fit(law.x, law.w, law.y, group=names, outcome_model="ridge", assignment_model="randomized")
    assert all(len(set(fit.fold[0][2 * i : 2 * i + 2])) == 1 for i in range(30))


def test_folds_of_a_single_group_are_reported():
    law = additive_and_crossed(50, 4, seed=0)
    x = law.x[np.arange(50) // 10]
    with pytest.warns(CausalOptWarning, match="5 of 5 folds of repeat 0 hold a single group"):
        fit = cross_fit(x, law.w, law.y, group=np.arange(50) // 10)
    for values in (fit.m, fit.s, fit.g):
        assert np.isfinite(values).all()
    assert not fit.scores.isna().any().any()


def assert_finite(fit, x):
    for values in (fit.m, fit.s, fit.g, fit.dose_response(x), fit.reader_response(x)):
        assert np.isfinite(values).all()


def test_what_can_go_wrong_with_columns_leaves_finite_numbers():
    rng = np.random.default_rng(0)
    wide, constant = rng.normal(size=(40, 120)), np.ones((40, 2))
    y = rng.normal(size=40)
    for w in (constant, rng.normal(size=(40, 60))):
        with warnings.catch_warnings():  # anything but weights on a handful of rows would be an error
            warnings.simplefilter("ignore", TruncationWarning)
            warnings.filterwarnings("ignore", "40 rows count as 1", OverlapWarning)
            fit = cross_fit(wide, w, y)
        assert_finite(fit, wide)


def test_a_text_that_is_its_covariate_leaves_finite_numbers_and_a_warning():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(40, 1))
    x = np.c_[np.ones((40, 2)), w]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        # No weight is right here: that of the fit may be refused, which the last bits decide.
        warnings.filterwarnings("ignore", "assignment model auto: the mean of its weights", CausalOptWarning)
        with pytest.warns(OverlapWarning, match="determines 1 of the 1 encoded covariates"):
            fit = cross_fit(x, w, rng.normal(size=40))
    assert_finite(fit, x)


def test_a_constant_outcome():
    rng = np.random.default_rng(0)
    fit = cross_fit(rng.normal(size=(60, 3)), rng.normal(size=(60, 1)), np.full(60, 3.0))
    np.testing.assert_allclose(fit.m, 3)
    assert not fit.scores.isna().any().any()


def test_an_assignment_model_that_reads_columns_is_none_to_fit():
    law = additive_and_crossed(50, 4, seed=0)
    with pytest.raises(ConfigError, match="pass them as s="):
        cross_fit(law.x, law.w, law.y, outcome_model="zero", assignment_model="logged")


def test_truncation_says_what_it_cut():
    s, weight = np.array([1.0, 2.0, 40.0, 0.5]), np.array([1.0, 2.0, 3.0, 4.0])
    with pytest.warns(TruncationWarning, match=r"47\.2% of the mass .* at max_weight 20 \(30\.0% of the rows; .* 40\)"):
        cut, truncated = truncate(s, weight, 20.0)
    assert cut.tolist() == [1.0, 2.0, 20.0, 0.5]
    assert truncated.rows == pytest.approx(3 / 10)
    assert truncated.mass == pytest.approx(60 / 127)
    law = additive_and_crossed(50, 4, seed=0)
    with (
        pytest.warns(TruncationWarning, match="largest was 100"),
        pytest.warns(OverlapWarning, match=r"50 rows count as 2\.2 under the stabilized weights"),
    ):
        fit = cross_fit(law.x, law.w, law.y, outcome_model="zero", s=np.r_[np.ones(49), 100.0], max_weight=10)
    assert fit.s.max() == 10
    assert fit.truncated.mass == pytest.approx(90 / 149)
    with pytest.raises(ConfigError, match="max_weight must be above 1"):
        cross_fit(law.x, law.w, law.y, max_weight=0.5)


def test_objects_are_copied_and_stay_as_they_were():
    law = additive_and_crossed(60, 4, seed=0)
    model = RidgeOutcome()
    cross_fit(law.x, law.w, law.y, outcome_model=model, assignment_model="randomized")
    assert not hasattr(model, "function_")


def test_scores_are_a_table_of_plain_columns():
    law = additive_and_crossed(200, 4, seed=0)
    scores = cross_fit(law.x, law.w, law.y).scores
    expected = ["repeat", "fold", "nuisance", "model", "rows", "loss", "null_loss", "skill", "marginal_error", "chosen"]
    assert list(scores.columns) == expected
    assert scores["chosen"].all()
    assert isinstance(scores, pd.DataFrame)


@pytest.mark.filterwarnings("ignore:assignment model .* the mean of its weights is 1.3", "ignore:4.5% of the mass")
@pytest.mark.parametrize("model", ["gaussian", "classifier", "randomized"])
def test_a_fold_of_one_row_or_of_one_weight_says_nothing_of_the_assignment(model):
    law = additive_and_crossed(99, 4, seed=0)
    fold = np.r_[np.arange(98) % 2, 2]
    fit = cross_fit(law.x, law.w, law.y, fold=fold, outcome_model="ridge", assignment_model=model)
    scores = fit.scores[fit.scores["nuisance"] == "assignment"]
    assert scores.loc[scores["rows"] == 1, "loss"].tolist() == pytest.approx([np.log(2)])
    assert np.isfinite(scores["loss"]).all()
    weight = np.zeros(99)
    weight[:6] = 1
    fold = np.r_[0, 0, 0, 1, 1, 2, np.arange(93) % 3]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit = cross_fit(law.x, law.w, law.y, weight, fold=fold, outcome_model="ridge", assignment_model=model)
    assert np.isfinite(fit.scores["loss"]).all()
    assert np.isfinite(fit.s).all()
    few = [str(one.message) for one in said if "too few to reassign readers at random" in str(one.message)]
    assert bool(few) == (model == "classifier")


@pytest.mark.filterwarnings("ignore:assignment model auto. the mean of its weights is 1.25")
def test_every_row_its_own_fold():
    law = additive_and_crossed(30, 4, seed=0)
    fit = cross_fit(law.x, law.w, law.y, outcome_model="ridge", folds=30)
    assert fit.scores.loc[fit.scores["nuisance"] == "assignment", "skill"].tolist() == pytest.approx([0.0] * 30)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_outcomes_whose_squares_no_float_holds_are_refused(size):
    law = additive_and_crossed(60, 4, seed=0)
    with pytest.raises(DataError, match="give them in other units"):
        cross_fit(law.x, law.w, size * law.y)
    settings = {"outcome_model": "ridge", "assignment_model": "randomized"}
    large = cross_fit(law.x, law.w, 1e50 * law.y, **settings).m
    np.testing.assert_allclose(large, 1e50 * cross_fit(law.x, law.w, law.y, **settings).m, rtol=1e-6, atol=1e44)
