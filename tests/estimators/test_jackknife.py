"""The delete-one-cluster jackknife against estimators computed anew without each cluster, statsmodels and coverage."""

import numpy as np
import pytest
from scipy import stats

from causalopt.errors import OverlapError
from causalopt.estimators.dm import ContextDraws
from causalopt.estimators.jackknife import standard_errors
from causalopt.evaluation import Estimate, clipped_ipw, dm, dr, dr_os, ipw, sndr, snipw, switch_dr

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.OverlapWarning")  # few clusters are what is tested


def without_each(value_of, n, labels):
    """Values of an estimator computed anew without each cluster, shape [G]."""
    return np.array([value_of(np.flatnonzero(labels != label)) for label in np.unique(labels)])


def variance_of(values):
    return (len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum()


class Panel:
    """Ratings of 12 texts by 15 readers whose level is part of the outcome, and of a right outcome model."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.n = 150
        self.text, self.reader = rng.integers(0, 12, self.n), rng.integers(0, 15, self.n)
        self.weight = rng.uniform(0.2, 3.0, self.n)
        self.log_ratios = [rng.normal(0, scale, 12)[self.text] for scale in (1.2, 0.4)]
        self.effect = rng.normal(size=12)[self.text]
        self.level = rng.normal(size=15)[self.reader]
        self.noise = rng.normal(size=self.n) + 2 * rng.normal(size=12)[self.text] + 2 * rng.normal(size=15)[self.reader]
        self.draws = [rng.normal(size=40), rng.normal(size=30)]
        self.contexts = rng.normal(size=(self.n, 2))

    def parts(self, kept, policy):
        """Arrays of the kept rows; g averages the level over the kept readers alone."""
        weight = self.weight[kept]
        mean = np.average(self.level[kept], weights=weight)
        g = self.effect[kept] + mean
        return self.log_ratios[policy][kept], self.noise[kept] + g, g, self.draws[policy] + mean, weight

    def estimate(self, name, kept, policy=0, cluster=None):
        log_ratio, xi, g, draws, weight = self.parts(kept, policy)
        readers = {"reader_response": self.level[kept], "weight": weight, "cluster": cluster}
        no_readers = {"weight": weight, "cluster": cluster}
        context = ContextDraws(self.contexts[kept, policy], np.arange(len(kept)), len(kept))
        fixed = xi - g + self.effect[kept]  # no mean over readers inside
        return {
            "ipw": lambda: ipw(log_ratio, fixed, **no_readers),
            "clipped_ipw": lambda: clipped_ipw(log_ratio, fixed, clip=1.5, **no_readers),
            "snipw": lambda: snipw(log_ratio, xi, **readers),
            "dr": lambda: dr(log_ratio, xi, g, draws, **readers),
            "sndr": lambda: sndr(log_ratio, xi, g, draws, **readers),
            "switch_dr": lambda: switch_dr(log_ratio, xi, g, draws, tau=1.5, **readers),
            "dr_os": lambda: dr_os(log_ratio, xi, g, draws, lam=0.7, **readers),
            "dm": lambda: dm(draws, **readers),
            "sndr in contexts": lambda: sndr(log_ratio, xi, g, context, **no_readers),
        }[name]()


NAMES = ["ipw", "clipped_ipw", "snipw", "dr", "sndr", "switch_dr", "dr_os", "dm", "sndr in contexts"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_deletion_is_the_estimator_without_the_cluster(name, seed):
    panel = Panel(seed)
    rows, ways = np.arange(panel.n), (panel.text, panel.reader)
    both = [panel.estimate(name, rows, policy, ways) for policy in (0, 1)]
    difference = both[0] - both[1]
    pairs = panel.text * 100 + panel.reader
    variances = []
    for way, labels in enumerate((*ways, pairs)):
        values = [
            without_each(lambda kept, p=policy: panel.estimate(name, kept, p).value, panel.n, labels)
            for policy in (0, 1)
        ]
        gap = values[0] - values[1]
        for found, expected in ((both[0], values[0]), (difference, gap)):
            deleted = found.value + found.deletions[way].change  # in another order
            np.testing.assert_allclose(np.sort(deleted), np.sort(expected), rtol=1e-10, atol=1e-10)
        variances.append(variance_of(gap))
    a, b, ab = variances
    rows_only = Estimate(0.0, difference.influence, difference.cluster, deletions=difference.deletions)
    np.testing.assert_allclose(rows_only.se**2, max(a + b - ab, a, b), rtol=1e-9, atol=1e-20)


def test_rows_are_clusters_of_one():
    panel = Panel(2)
    rows = np.arange(panel.n)
    by_row, by_label = (panel.estimate("sndr", rows, cluster=cluster) for cluster in (None, rows))
    np.testing.assert_allclose([by_row.se, by_row.df], [by_label.se, by_label.df], rtol=1e-12)


def test_a_weighted_mean_is_statsmodels_hc3(study):
    """HC3 divides each residual by one minus its leverage; the jackknife also takes off the mean of its changes."""
    sm = pytest.importorskip("statsmodels.api")
    fit = sm.WLS(study.xi, np.ones(study.n), weights=study.weight).fit(cov_type="HC3")
    found = ipw(np.zeros(study.n), study.xi, weight=study.weight)
    change = found.deletions[0].change
    uncentered = found.se**2 * study.n / (study.n - 1) + study.n * change.mean() ** 2
    np.testing.assert_allclose(uncentered, fit.bse[0] ** 2, rtol=1e-10)


def test_two_ways_are_never_below_the_larger_of_them():
    """Rows that cancel within both kinds of clusters: V_A and V_B are near zero, V_AB is not."""
    values = np.array([1.0, -1.0, -1.0, 1.0]) + np.array([0.1, 0.1, -0.1, -0.1])
    ways = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert Estimate(0.0, values, ways).se == pytest.approx(Estimate(0.0, values, ways[:1]).se, rel=1e-12)
    assert Estimate(0.0, values, ways).se > 0


def test_degrees_of_freedom_are_of_the_weights_that_differ():
    """Two policies that differ on three of twelve texts alone, however many rows the others have."""
    text = np.repeat(np.arange(12), 20)
    rng = np.random.default_rng(0)
    first, second = np.zeros(12), np.zeros(12)
    first[:3], second[:3] = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]  # the same sum, so that self-normalising changes nothing
    values = rng.normal(size=240)
    found = snipw(first[text], values, cluster=text) - snipw(second[text], values, cluster=text)
    assert found.df == pytest.approx(2.0, rel=1e-12)
    # means of what the rows' own readers make of two policies: the weights cancel, the shares of the rows do not
    level = rng.normal(size=(240, 2))
    assert (dm(level[:, :1], cluster=text) - dm(level[:, 1:], cluster=text)).df == pytest.approx(11)
    reader = np.arange(240) % 40
    for ways in ((text, reader), (reader, text)):
        assert snipw(first[text], values, cluster=ways).df == snipw(first[text], values, cluster=text).df < 11


def test_a_cluster_that_carries_all_the_weight_has_no_error():
    text = np.repeat(np.arange(4), 10)
    with pytest.raises(OverlapError, match="one of 4 clusters carries the whole weight"):
        snipw(np.where(text == 0, 0.0, -60.0), np.arange(40.0), cluster=text)


def test_errors_of_overflowing_size_are_still_numbers():
    influence = np.array([1.0, -1.0, 2.0, -2.0]) * 1e200
    assert Estimate(0.0, influence).se == pytest.approx(1e200 * np.sqrt(10 * 4 / 3) / 4, rel=1e-12)


def test_many_means_at_once_are_many_estimates(study):
    values = np.column_stack([study.xi, study.g, study.reader])
    share = study.weight / study.weight.sum()
    influence = study.n * share[:, None] * (values - share @ values)
    for cluster in ((), (study.texts,), (study.texts, study.readers)):
        labels = {0: None, 1: study.texts, 2: (study.texts, study.readers)}[len(cluster)]
        one_by_one = [ipw(np.zeros(study.n), column, weight=study.weight, cluster=labels).se for column in values.T]
        np.testing.assert_allclose(standard_errors(influence, share, cluster), one_by_one, rtol=1e-10)


@pytest.mark.parametrize(("texts", "rows", "tilt"), [(20, 15, 1.0), (40, 10, 1.5)])
def test_intervals_of_few_texts_cover(within_binomial, texts, rows, tilt):
    """A policy tilted by what does not act, over texts with shocks of their own: its true gain is zero.

    A few texts carry the weights, and few effective degrees of freedom make the interval wide rather than narrow. 1,500
    samples: where the true coverage lies in the band this fails with probability below 1e-6.
    """
    rng = np.random.default_rng(8)
    text, n = np.repeat(np.arange(texts), rows), texts * rows
    hits, narrow = [], []
    for _ in range(1500):
        z = rng.normal(size=texts)[text]
        y = 0.5 * rng.normal(size=texts)[text] + rng.normal(size=n)
        found = snipw(tilt * z, y, cluster=text) - snipw(np.zeros(n), y, cluster=text)
        low, high = found.confint()
        hits.append(low <= 0 <= high)
        sums = np.bincount(text, found.influence) / n  # without deletions: the error of the linearisation
        error = np.sqrt(texts / (texts - 1) * np.sum(sums**2))
        narrow.append(abs(found.value) <= stats.t.ppf(0.975, texts - 1) * error)
    within_binomial(hits, (0.935, 0.992))
    assert np.mean(narrow) < 0.93  # a true rate of 0.95 would show this with probability below 1e-3


def test_intervals_by_prompt_cover(within_binomial):
    """Every prompt has an effect of its own, 30 prompts answered ten times; 1,500 samples, as above."""
    rng = np.random.default_rng(9)
    prompt, n = np.repeat(np.arange(30), 10), 300
    row, by = np.arange(n), {"prompt": [], "row": []}
    for _ in range(1500):
        slope, level = 0.3 + 0.5 * rng.normal(size=30), rng.normal(size=30)
        z = rng.normal(size=n)
        y, g = level[prompt] + slope[prompt] * z + rng.normal(size=n), level[prompt] + 0.3 * z
        new, old = (level[prompt] + 0.3 * (rng.normal(size=n) + shift) for shift in (0.5, 0.0))
        for name, cluster in (("prompt", prompt), ("row", None)):
            values = [
                sndr(ratio, y, g, ContextDraws(drawn, row, n), cluster=cluster)
                for ratio, drawn in ((0.5 * z - 0.125, new), (np.zeros(n), old))
            ]
            low, high = (values[0] - values[1]).confint()
            by[name].append(low <= 0.15 <= high)
    within_binomial(by["prompt"], (0.935, 0.97))
    assert np.mean(by["row"]) < 0.90  # a true rate of 0.93 would show this with probability below 1e-5
