import numpy as np
import pytest
from scipy.special import softmax

from causalopt.errors import ConfigError, DataError, OverlapWarning
from causalopt.nuisance.assignment.arms import ArmsAssignment

CODES = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_the_true_weights_of_three_arms():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6000, 2))
    given = softmax(np.c_[w[:, 0], np.zeros(6000), 0.5 * w[:, 1] ** 2], axis=1)
    arm = (given.cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1)
    model = ArmsAssignment().fit(CODES[arm[:4000]], w[:4000], np.ones(4000))
    s = model.stabilized_weight(CODES[arm[4000:]], w[4000:])
    truth = given.mean(axis=0)[arm] / given[np.arange(6000), arm]
    error = np.log(s) - np.log(truth[4000:])
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert np.corrcoef(np.log(s), np.log(truth[4000:]))[0, 1] > 0.97


def test_weights_reach_the_fit():
    rng = np.random.default_rng(0)
    w = rng.choice([0.0, 1.0], size=(4000, 1))
    arm = (rng.random(4000) < 0.3 + 0.4 * w[:, 0]).astype(int)
    weight = np.where(arm == 1, 3.0, 1.0) * np.where(w[:, 0] == 1, 5.0, 1.0)
    s = ArmsAssignment().fit(CODES[arm], w, weight).stabilized_weight(CODES[[1, 1]], np.array([[0.0], [1.0]]))
    given = [np.average(arm[w[:, 0] == v], weights=weight[w[:, 0] == v]) for v in (0, 1)]
    share = np.average(w[:, 0], weights=weight)
    np.testing.assert_allclose(s, ((1 - share) * given[0] + share * given[1]) / np.array(given), rtol=0.05)


def test_perfectly_separated_arms_are_reported_with_the_share_of_readers():
    rng = np.random.default_rng(0)
    w = np.r_[rng.uniform(-2, -1, 300), rng.uniform(1, 2, 300)][:, None]
    arm = (w[:, 0] > 0).astype(int)
    with pytest.warns(OverlapWarning, match=r"\d+% of the readers hardly ever get some text .*2 of 2 texts"):
        model = ArmsAssignment().fit(CODES[arm], w, np.ones(600))
    s = model.stabilized_weight(CODES[arm], w)
    assert np.isfinite(s).all()
    assert (s > 0).all()


def test_texts_that_are_no_arms():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(300, 1))
    with pytest.raises(ConfigError, match=r"at most 100 texts .* 300 distinct ones"):
        ArmsAssignment().fit(rng.normal(size=(300, 2)), w, np.ones(300))
    with pytest.raises(DataError, match="a single text"):
        ArmsAssignment().fit(np.ones((300, 2)), w, np.ones(300))
    model = ArmsAssignment().fit(CODES[rng.integers(0, 2, 300)], w, np.ones(300))
    with pytest.raises(DataError, match="name a group column"):
        model.stabilized_weight(CODES[2:], w[:1])


def test_constant_covariates_weigh_nothing():
    rng = np.random.default_rng(0)
    arm = rng.integers(0, 3, 300)
    s = (
        ArmsAssignment()
        .fit(CODES[arm], np.ones((300, 1)), np.ones(300))
        .stabilized_weight(CODES[arm], np.ones((300, 1)))
    )
    np.testing.assert_allclose(s, 1, atol=1e-8)
