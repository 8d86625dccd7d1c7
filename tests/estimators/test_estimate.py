"""Arithmetic, intervals, tests and the bootstrap of `Estimate`."""

import numpy as np
import pytest
from scipy import stats

from causalopt.errors import DataError
from causalopt.evaluation import Estimate, dm, dr, ipw, sndr, snipw


@pytest.fixture
def pair(study):
    cluster = (study.texts, study.readers)
    shared = {"weight": study.weight, "cluster": cluster}
    return (
        dr(study.log_ratio, study.xi, study.g, study.g_policy, **shared),
        dr(study.log_ratio_other, study.xi, study.g, study.g_policy_other, **shared),
    )


def test_a_number_minus_itself_is_exactly_zero(pair, study):
    a = pair[0]
    again = dr(
        study.log_ratio,
        study.xi,
        study.g,
        study.g_policy.copy(),
        weight=study.weight,
        cluster=(study.texts, study.readers),
    )
    for difference in (a - a, a - again):
        assert difference.value == 0.0
        assert difference.se == 0.0
        assert difference.confint() == (0.0, 0.0)
        assert difference.test().p_value == 1.0
        np.testing.assert_array_equal(difference.bootstrap(5), np.zeros(5))


def test_rows_subtract_and_different_draws_add(pair, study):
    a, b = pair
    shared = {"weight": study.weight, "cluster": (study.texts, study.readers)}
    of_draws = stats.sem(next(iter(a.draws.values()))) ** 2 + stats.sem(next(iter(b.draws.values()))) ** 2
    ratios = np.exp(study.log_ratio), np.exp(study.log_ratio_other)
    for combined, ratio in ((a - b, ratios[0] - ratios[1]), (a + b, ratios[0] + ratios[1])):
        rows = ipw(np.zeros(study.n), ratio * (study.xi - study.g), **shared)  # one mean with the same weights
        np.testing.assert_allclose(combined.se**2, rows.se**2 + of_draws, rtol=1e-12)
    assert (a - b).value == a.value - b.value


def test_the_same_draws_of_one_policy_subtract(study):
    plug_in = dm(study.g_policy)
    doubly = dr(study.log_ratio, study.xi, study.g, study.g_policy)
    correction = doubly - plug_in
    np.testing.assert_allclose(correction.se, dr(study.log_ratio, study.xi, study.g, 0.0).se, rtol=1e-12)


def test_draws_alone_combine_with_any_rows(study):
    difference = snipw(study.log_ratio, study.xi) - dm(study.g_policy)
    assert difference.n == study.n
    assert difference.estimator == "snipw - dm"
    other_way = dm(study.g_policy) - snipw(study.log_ratio, study.xi)
    np.testing.assert_allclose([other_way.value, other_way.se], [-difference.value, difference.se], rtol=1e-12)


def test_scaling(pair):
    a, b = pair
    mean = (a + b) / 2
    by_hand = 0.5 * a + b * 0.5
    np.testing.assert_allclose([mean.value, mean.se], [by_hand.value, by_hand.se], rtol=1e-12)
    np.testing.assert_allclose([(-a).value, (-a).se], [-a.value, a.se], rtol=1e-12)
    assert (3.0 * a).se == pytest.approx(3 * a.se, rel=1e-12)
    assert (a - b).se == pytest.approx((b - a).se, rel=1e-12)


def test_estimates_of_different_rows_do_not_combine(study):
    a = snipw(study.log_ratio, study.xi)
    with pytest.raises(DataError, match=r"different rows \(240 and 200\)"):
        a - snipw(study.log_ratio[:200], study.xi[:200])
    with pytest.raises(DataError, match="different clusters"):
        a - snipw(study.log_ratio, study.xi, cluster=study.texts)
    with pytest.raises(DataError, match="different clusters"):
        snipw(study.log_ratio, study.xi, cluster=study.readers) + snipw(study.log_ratio, study.xi, cluster=study.texts)
    with pytest.raises(TypeError):
        a + 1.0


def test_intervals_are_students_with_satterthwaite_degrees_of_freedom(study):
    cluster = study.texts % 7
    rows_only = snipw(study.log_ratio, study.xi, cluster=cluster)
    share = np.bincount(cluster, np.exp(study.log_ratio))  # a shares' common factor changes nothing
    df = (share**2).sum() ** 2 / (share**4).sum()
    assert rows_only.df == pytest.approx(min(df, 6), rel=1e-12)
    low, high = rows_only.confint(0.9)
    np.testing.assert_allclose((high - low) / 2, stats.t.ppf(0.95, rows_only.df) * rows_only.se, rtol=1e-12)
    draws_only = dm(study.g_policy)
    reference = stats.t.interval(0.95, study.m - 1, study.g_policy.mean(), stats.sem(study.g_policy))
    np.testing.assert_allclose(draws_only.confint(), reference, rtol=1e-12)
    both = rows_only - draws_only
    v = np.array([rows_only.se**2, draws_only.se**2])
    satterthwaite = v.sum() ** 2 / (v[0] ** 2 / rows_only.df + v[1] ** 2 / (study.m - 1))
    np.testing.assert_allclose(both.df, satterthwaite, rtol=1e-12)


def test_the_t_test_equals_scipys_and_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, 12), rng.normal(0.0, 3, 25)
    one, reference = dm(a).test(0.1), stats.ttest_1samp(a, 0.1)
    np.testing.assert_allclose([one.statistic, one.p_value], [reference.statistic, reference.pvalue], rtol=1e-10)
    two, reference = (dm(a) - dm(b)).test(), stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(
        [two.statistic, two.p_value, two.df], [reference.statistic, reference.pvalue, reference.df], rtol=1e-10
    )


def test_interval_and_test_agree(pair):
    a = pair[0]
    low, _ = a.confint(0.95)
    assert a.test(low).p_value == pytest.approx(0.05, rel=1e-9)


def test_a_number_known_exactly():
    exact = dm(2.0)
    assert exact.confint() == (2.0, 2.0)
    assert exact.test(2.0).p_value == 1.0
    assert exact.test(1.0) == (float("inf"), 0.0, float("inf"))


@pytest.mark.parametrize("ways", [0, 1])
def test_bootstrap_has_the_standard_error_and_mean(study, ways):
    cluster = study.texts if ways else None
    estimate = sndr(study.log_ratio, study.xi, study.g, study.g_policy, cluster=cluster)
    values = estimate.bootstrap(20_000, seed=1)
    # the sd of 20,000 values has a standard error of 0.5% of it (a little more with kurtosis): five of those
    assert values.std() == pytest.approx(estimate.se, rel=0.03)
    assert values.mean() == pytest.approx(estimate.value, abs=6 * estimate.se / np.sqrt(20_000))


def test_two_way_bootstrap_is_a_little_conservative(study):
    estimate = snipw(
        study.log_ratio, study.xi + np.cos(study.texts) + np.sin(study.readers), cluster=(study.texts, study.readers)
    )
    sums = {
        "a": np.bincount(study.texts, estimate.influence),
        "b": np.bincount(study.readers, estimate.influence),
        "ab": np.bincount(study.texts * 100 + study.readers, estimate.influence),
    }
    variance = sum((v**2).sum() for v in sums.values()) / study.n**2
    assert estimate.bootstrap(20_000, seed=1).std() == pytest.approx(np.sqrt(variance), rel=0.05)


def test_bootstraps_of_the_same_rows_are_joint(pair):
    a, b = pair
    np.testing.assert_allclose(
        (a - b).bootstrap(50, seed=3), a.bootstrap(50, seed=3) - b.bootstrap(50, seed=3), rtol=1e-9
    )
    assert np.array_equal(a.bootstrap(50, seed=3), a.bootstrap(50, seed=3))
    assert not np.array_equal(a.bootstrap(50, seed=3), a.bootstrap(50, seed=4))


def test_to_frame_and_summary(pair):
    a = pair[0]
    frame = a.to_frame(0.9)
    assert frame.loc[0, ["ci_low", "ci_high"]].tolist() == list(a.confint(0.9))
    assert frame.loc[0, "clusters"] == 25
    assert frame.loc[0, "draws"] == 60
    text = a.summary(0.9)
    assert text.startswith("dr: ")
    assert "90% interval" in text
    assert "240 rows in 40 x 25 clusters, 60 draws" in text
    assert str(a).startswith("dr: ")


def test_a_level_outside_zero_and_one_is_refused(pair):
    with pytest.raises(DataError, match="level"):
        pair[0].confint(95)


def test_not_a_number_never_gets_in():
    with pytest.raises(DataError, match="not finite"):
        Estimate(float("nan"), np.zeros(3))
    with pytest.raises(DataError, match="not finite"):
        Estimate(0.0, np.array([0.0, np.inf]))


def test_draws_are_known_by_their_content_not_their_number():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=50), rng.normal(size=50)
    difference = dm(first) - dm(second)
    assert len(difference.draws) == 2
    np.testing.assert_allclose(difference.se**2, stats.sem(first) ** 2 + stats.sem(second) ** 2, rtol=1e-12)
