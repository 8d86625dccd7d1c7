"""Simultaneous intervals against closed forms, integration and replication; and estimates of some of the rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalopt.errors import ConfigError, DataError
from causalopt.estimators.simultaneous import correlation
from causalopt.evaluation import Estimate, dm, simultaneous, sndr, snipw


def means(values, cluster=()):
    """Means of the columns of ``values`` [n, K]."""
    return [Estimate(float(one.mean()), one - one.mean(), cluster) for one in values.T]


def equicorrelated(rng, n, count, r):
    return np.sqrt(r) * rng.normal(size=(n, 1)) + np.sqrt(1 - r) * rng.normal(size=(n, count))


@pytest.mark.parametrize("n", [2, 6, 500])
def test_a_single_estimate_has_its_own_interval(n):
    (one,) = means(np.random.default_rng(n).normal(size=(n, 1)))
    for level in (0.8, 0.95):
        found = simultaneous([one], level)
        np.testing.assert_allclose([found.low[0], found.high[0]], one.confint(level), rtol=1e-9)
        assert found.p_value[0] == one.test().p_value


@pytest.mark.parametrize("count", [2, 10])
def test_independent_estimates_have_the_interval_of_sidak(count):
    found = simultaneous(means(np.random.default_rng(0).normal(size=(3000, count))))
    assert 1 - found.pointwise_level == pytest.approx(1 - 0.95 ** (1 / count), rel=0.04)  # 3 Monte Carlo errors


def test_estimates_that_are_one_and_the_same_have_the_interval_of_one():
    (one,) = means(np.random.default_rng(0).normal(size=(40, 1)))
    found = simultaneous([one, -2.0 * one, one / 3.0])
    assert 1 - found.pointwise_level == pytest.approx(0.05, rel=0.05)
    assert found.high[1] - found.low[1] == pytest.approx(2 * (found.high[0] - found.low[0]))


def test_dependent_estimates_agree_with_numerical_integration():
    rng = np.random.default_rng(1)
    found = simultaneous(means(equicorrelated(rng, 20_000, 4, 0.6)))
    bound = stats.norm.ppf(0.5 + found.pointwise_level / 2)
    law = stats.multivariate_normal(np.zeros(4), np.full((4, 4), 0.6) + 0.4 * np.eye(4))
    joint = law.cdf(np.full(4, bound), lower_limit=np.full(4, -bound), rng=np.random.default_rng(0))
    assert joint == pytest.approx(0.95, abs=0.003)


def test_the_pointwise_level_stays_between_that_of_one_and_bonferroni():
    rng = np.random.default_rng(2)
    for n, count, r in [(3, 20, 0.0), (6, 20, 0.5), (50, 3, 0.99), (2, 2, 0.0)]:
        estimates = means(equicorrelated(rng, n, count, r))
        found = simultaneous(estimates, draws=2000)
        assert 0.95 <= found.pointwise_level <= 1 - 0.05 / count + 1e-12
        for low, high, one in zip(found.low, found.high, estimates, strict=True):
            assert low <= one.confint()[0] + 1e-9
            assert high >= one.confint()[1] - 1e-9


def test_adjusted_p_values_agree_with_the_intervals():
    rng = np.random.default_rng(3)
    for _ in range(30):
        found = simultaneous(means(equicorrelated(rng, 30, 4, 0.4) + rng.normal(0, 0.5, 4)), draws=20_000)
        excludes = (found.low > 0) | (found.high < 0)
        clear = np.abs(found.p_value - 0.05) > 0.001
        np.testing.assert_array_equal(excludes[clear], found.p_value[clear] < 0.05)
        assert found.joint_p_value == found.p_value.min()


@pytest.mark.parametrize(("clusters", "count", "r"), [(6, 8, 0.0), (6, 8, 0.5), (12, 4, 0.9), (60, 8, 0.3)])
def test_all_are_covered_at_once_with_few_clusters(clusters, count, r, within_binomial):
    """500 replications; a joint coverage between 0.935 and 0.975 fails with probability below 1e-6."""
    rng = np.random.default_rng(4)
    cluster = (np.repeat(np.arange(clusters), 2),)
    hits = []
    for _ in range(500):
        values = np.repeat(equicorrelated(rng, clusters, count, r), 2, axis=0) + 0.3 * rng.normal(
            size=(2 * clusters, count)
        )
        found = simultaneous(means(values, cluster), draws=2000)
        hits.append(bool(np.all((found.low <= 0) & (found.high >= 0))))
    within_binomial(np.array(hits), (0.935, 0.975))


def test_correlations_from_few_clusters_do_not_narrow_the_intervals():
    """Six clusters, ten independent estimates: the sample correlations alone, 0.4 in size, would give 0.993."""
    rng = np.random.default_rng(5)
    levels = [simultaneous(means(rng.normal(size=(6, 10))), draws=20_000).pointwise_level for _ in range(20)]
    assert np.mean(levels) == pytest.approx(0.95**0.1, abs=3e-4)
    path = np.cumsum(rng.normal(size=(6, 10)) * [1.0, *[0.1] * 9], axis=1)
    assert simultaneous(means(path)).pointwise_level < 0.98  # points of a path: the dependence is kept


def test_two_way_clusters_and_shared_draws():
    rng = np.random.default_rng(6)
    n = 400
    texts, readers = rng.integers(30, size=n), rng.integers(25, size=n)
    values = rng.normal(size=(30, 1))[texts] + rng.normal(size=(30, 2))[texts] + rng.normal(size=(25, 2))[readers]
    first, second = means(values, (texts, readers))
    joint = (first.se**2 + second.se**2 - (first - second).se ** 2) / (2 * first.se * second.se)
    assert correlation([first, second])[0, 1] == pytest.approx(joint, abs=1e-9)
    draws = rng.normal(size=50)
    assert correlation([dm(draws), dm(draws) * -3.0])[0, 1] == pytest.approx(-1.0)
    assert correlation([dm(draws), dm(rng.normal(size=50))])[0, 1] == 0.0


def test_a_number_known_exactly_does_not_widen_the_others():
    one, other = means(np.random.default_rng(7).normal(size=(30, 2)))
    found = simultaneous([one, one - one, other])
    assert found.pointwise_level == simultaneous([one, other]).pointwise_level
    assert (found.low[1], found.high[1], found.p_value[1]) == (0.0, 0.0, 1.0)
    assert simultaneous([one - one]).joint_p_value == 1.0


def test_what_cannot_be_combined_is_refused():
    rng = np.random.default_rng(8)
    with pytest.raises(DataError, match="at least one Estimate"):
        simultaneous([])
    with pytest.raises(DataError, match="different rows"):
        simultaneous([*means(rng.normal(size=(5, 1))), *means(rng.normal(size=(6, 1)))])
    with pytest.raises(ConfigError, match="level must be"):
        simultaneous(means(rng.normal(size=(5, 1))), level=1.0)


@pytest.mark.parametrize("ways", [0, 1, 2])
def test_an_estimate_of_some_rows_keeps_its_error_among_all_rows(study, ways):
    every = (study.texts, study.readers)[:ways]
    every = tuple(np.unique(codes, return_inverse=True)[1] for codes in every)
    rows = np.flatnonzero(np.arange(study.n) % 3 == 0)
    codes = tuple(one[rows] for one in every)
    cluster = None if not codes else codes[0] if ways == 1 else codes
    arrays = study.log_ratio[rows], study.xi[rows], study.g[rows], study.g_policy
    rest = {"reader_response": study.reader[rows], "weight": study.weight[rows], "cluster": cluster}
    alone, other = (
        sndr(*arrays, **rest),
        snipw(study.log_ratio_other[rows], study.xi[rows], weight=study.weight[rows], cluster=cluster),
    )
    wide, wide_other = (one.on_all_rows(rows, every, study.n) for one in (alone, other))
    for small, large in ((alone, wide), (alone - other, wide - wide_other)):
        assert large.n == study.n
        assert large.value == small.value
        np.testing.assert_allclose(large.influence[rows] / study.n, small.influence / len(rows))
        assert large.se == pytest.approx(small.se, rel=1e-12)
        assert large.df == pytest.approx(small.df, rel=1e-12)
        assert large.confint() == pytest.approx(small.confint(), rel=1e-12)


def test_estimates_of_disjoint_rows_share_only_their_clusters():
    rng = np.random.default_rng(9)
    n = 240
    text = np.arange(n) % 40
    y = rng.normal(size=40)[text] + 0.5 * rng.normal(size=n)
    apart = [np.flatnonzero(text < 20), np.flatnonzero(text >= 20)]  # no text in both
    across = [np.arange(0, 120), np.arange(120, 240)]  # every text in both
    for parts, shared in ((apart, False), (across, True)):
        one, two = (snipw(np.zeros(len(p)), y[p], cluster=text[p]).on_all_rows(p, (text,), n) for p in parts)
        assert one.df == pytest.approx(39 if shared else 19)
        assert (one + two).value / 2 == pytest.approx(y.mean())
        r = correlation([one, two])[0, 1]
        assert (r > 0.5) if shared else (r == 0.0)
