"""Balance and calibration of stabilized weights that are right, wrong, or absent."""

import numpy as np
import pytest
from scipy import stats

from causalopt.errors import DataError
from causalopt.evaluation import covariate_balance, weight_calibration


@pytest.fixture(scope="module")
def confounded():
    """x | w is N(0.8 w, 1): p(x) / p(x|w) is a ratio of normal densities, known exactly."""
    rng = np.random.default_rng(0)
    n = 5000
    w = rng.normal(size=(n, 2))
    x = rng.normal(size=(n, 3))
    x[:, 0] += 0.6 * w[:, 0]
    variance = 1 + 0.36
    log_s = -0.5 * np.log(variance) - x[:, 0] ** 2 / (2 * variance) + 0.5 * (x[:, 0] - 0.6 * w[:, 0]) ** 2
    return x, w, np.exp(log_s)


def test_correlations_equal_numpys(study):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(study.n, 3)), rng.normal(size=(study.n, 2))
    s = np.exp(0.3 * study.reader)
    frame = covariate_balance(x, w, s, weight=study.weight, names=["age", "income"])
    for column in range(2):
        for name, weight in (("before", study.weight), ("after", study.weight * s)):
            by_hand = []
            for j in range(3):
                cov = np.cov(x[:, j], w[:, column], aweights=weight)
                by_hand.append(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))
            np.testing.assert_allclose(frame[name][column], np.sqrt(np.mean(np.square(by_hand))), rtol=1e-10)
            np.testing.assert_allclose(frame[f"largest_{name}"][column], np.max(np.abs(by_hand)), rtol=1e-10)
    assert frame["covariate"].tolist() == ["age", "income"]
    np.testing.assert_allclose(
        frame["chance_before"], np.sqrt((study.weight**2).sum()) / study.weight.sum(), rtol=1e-10
    )


def test_right_weights_balance_and_no_weights_do_not(confounded):
    x, w, s = confounded
    frame = covariate_balance(x, w, s)
    assert frame["before"][0] > 0.25
    assert frame["after"][0] < 4 * frame["chance_after"][0]
    assert frame["before"][1] < 4 * frame["chance_before"][1]
    upside_down = covariate_balance(x, w, 1 / s)
    assert upside_down["after"][0] > frame["before"][0]


def test_calibration_accepts_right_weights_and_rejects_wrong_ones(confounded):
    x, w, s = confounded
    right = weight_calibration(x, w, s)
    # seven statistics of size one; a right weight passes 5 with probability above 1 - 1e-5
    assert (right["statistic"].abs() < 5).all()
    scaled = weight_calibration(x, w, 1.3 * s)
    assert abs(scaled["statistic"][0]) > 5
    assert scaled["moment"].tolist()[:3] == ["mean of s", "covariate 0", "covariate 1"]
    assert scaled["moment"][3].startswith("embedding coordinate")
    depends_on_reader = weight_calibration(x, w, np.exp(0.4 * w[:, 1] - 0.08))
    assert abs(depends_on_reader["statistic"][2]) > 5


def test_calibration_written_out(study):
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(study.n, 1)), rng.normal(size=(study.n, 1))
    s = np.exp(0.3 * study.reader)
    frame = weight_calibration(x, w, s, weight=study.weight)
    a = study.weight / study.weight.mean()
    z = (w[:, 0] - np.average(w[:, 0], weights=a)) / np.sqrt(
        np.average((w[:, 0] - np.average(w[:, 0], weights=a)) ** 2, weights=a)
    )
    term = (s - 1) * z
    shift = np.average(term, weights=a)
    se = np.sqrt(np.sum((a * (term - shift)) ** 2) / study.n / (study.n - 1))
    np.testing.assert_allclose(frame.loc[1, ["shift", "se"]].tolist(), [shift, se], rtol=1e-10)
    np.testing.assert_allclose(frame.loc[0, "shift"], np.average(s, weights=a) - 1, rtol=1e-10)


def test_constant_columns_give_zero_not_nan(study):
    x = np.column_stack([np.full(study.n, 0.1), study.xi])
    w = np.column_stack([np.full(study.n, 3.3), study.reader])
    for frame in (covariate_balance(x, w, np.ones(study.n)), weight_calibration(x, w, np.exp(study.log_ratio_other))):
        assert not frame.isna().any().any()
    assert covariate_balance(x, w, np.ones(study.n))["before"][0] == 0.0


def test_no_covariates_is_an_empty_table(study):
    assert len(covariate_balance(study.xi[:, None], np.empty((study.n, 0)), np.ones(study.n))) == 0


def test_bad_input_is_named(study):
    x, w = study.xi[:, None], study.reader[:, None]
    with pytest.raises(DataError, match="s must not be negative"):
        covariate_balance(x, w, np.zeros(study.n))
    with pytest.raises(DataError, match="names has 2 entries for 1"):
        covariate_balance(x, w, np.ones(study.n), names=["a", "b"])
    with pytest.raises(DataError, match="w has 3 rows"):
        weight_calibration(x, w[:3], np.ones(study.n))


def panel(rng, one_text):
    """60 readers of 20 rows, whose covariate and (if ``one_text``) text are their own; they are independent."""
    reader = np.repeat(np.arange(60), 20)
    w = rng.normal(size=(60, 1))[reader]
    x = rng.normal(size=(60, 4))[reader] if one_text else rng.normal(size=(1200, 4))
    return x, w, reader


@pytest.mark.parametrize(("one_text", "units"), [(True, 60), (False, 1200)])
def test_chance_is_what_independence_shows(one_text, units):
    """Squares of four correlations have mean 1 / units; over 200 samples the mean of 800 has a relative error of 5%."""
    rng = np.random.default_rng(3)
    found, chance, by_row = [], [], []
    for _ in range(200):
        x, w, reader = panel(rng, one_text)
        frame = covariate_balance(x, w, np.ones(1200), cluster=reader)
        found.append(frame["before"][0] ** 2)
        chance.append(frame["chance_before"][0] ** 2)
        by_row.append(covariate_balance(x, w, np.ones(1200))["chance_before"][0])
    assert np.mean(found) == pytest.approx(1 / units, rel=0.25)
    assert np.mean(chance) == pytest.approx(1 / units, rel=0.12)
    assert np.allclose(by_row, 1200**-0.5)


def test_coordinates_that_do_not_vary_hide_no_imbalance():
    rng = np.random.default_rng(4)
    x, w = rng.normal(size=(200, 1)), rng.normal(size=(200, 1))
    padded = np.column_stack([x, np.full((200, 9), 0.3)])
    for cluster in (None, np.arange(200) % 20):
        columns = ["before", "after", "largest_before", "chance_before", "chance_after"]
        frames = [covariate_balance(one, w, np.exp(w[:, 0]), cluster=cluster)[columns] for one in (x, padded)]
        np.testing.assert_allclose(frames[0], frames[1], rtol=1e-10)


def test_calibration_of_right_weights_is_rejected_as_often_as_stated(within_binomial):
    """Readers of 20 rows whose text depends on their covariate, with the known ratio: by reader 5% of tests reject.

    400 samples, failing below 1e-6 where the true rate is in the band; by row most would reject.
    """
    rng = np.random.default_rng(5)
    reader = np.repeat(np.arange(80), 20)
    clustered, by_row = [], []
    for _ in range(400):
        w = rng.normal(size=80)
        x = 0.3 * w + rng.normal(size=80)
        log_s = -0.5 * np.log(1.09) - x**2 / 2.18 + 0.5 * (x - 0.3 * w) ** 2
        arrays = x[reader, None], w[reader, None], np.exp(log_s)[reader]
        for found, cluster in ((clustered, reader), (by_row, None)):
            frame = weight_calibration(*arrays, cluster=cluster)
            found.append(abs(frame["statistic"][0]) <= stats.t.ppf(0.975, 79))
    within_binomial(clustered, (0.90, 0.97))
    assert np.mean(by_row) < 0.6
