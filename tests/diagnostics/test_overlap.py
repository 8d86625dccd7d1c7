"""Evidence of overlap: closed forms, and tails whose shape is known."""

import math
import warnings

import numpy as np
import pytest
from arviz_stats.base import array_stats
from scipy import stats

from causalopt.diagnostics.overlap import warn_if_mean_ratio_is_not_one
from causalopt.errors import ConfigError, DataError, OverlapWarning
from causalopt.evaluation import overlap, pareto_k, snipw, truncated_mass


def test_sizes_written_out(study):
    total = square = largest = 0.0
    for log_ratio, weight in zip(study.log_ratio, study.weight, strict=True):
        value = weight * math.exp(log_ratio)
        total, square, largest = total + value, square + value**2, max(largest, value)
    report = overlap(study.log_ratio, study.weight)
    np.testing.assert_allclose(report.ess, total**2 / square, rtol=1e-10)
    np.testing.assert_allclose(report.ess_fraction, total**2 / square / study.n, rtol=1e-10)
    np.testing.assert_allclose(report.max_weight_share, largest / total, rtol=1e-10)
    assert (report.unit, report.clusters) == ("rows", study.n)


def test_sizes_by_cluster_written_out(study):
    """Weights are summed in each cluster first; of two ways, the smaller effective number counts."""
    weight = study.weight * np.exp(study.log_ratio)
    sizes, tails = {}, {}
    for name, labels in (("texts", study.texts), ("readers", study.readers)):
        sums = np.array([weight[labels == label].sum() for label in np.unique(labels)])
        sizes[name], tails[name] = sums.sum() ** 2 / (sums**2).sum(), pareto_k(np.log(sums))
        report = overlap(study.log_ratio, study.weight, labels, name)
        np.testing.assert_allclose(report.ess, sizes[name], rtol=1e-10)
        np.testing.assert_allclose(report.ess_fraction, sizes[name] / len(sums), rtol=1e-10)
        np.testing.assert_allclose(report.ess_rows, weight.sum() ** 2 / (weight**2).sum(), rtol=1e-10)
        np.testing.assert_allclose(report.max_weight_share, sums.max() / sums.sum(), rtol=1e-10)
        np.testing.assert_allclose(report.pareto_k, tails[name], rtol=1e-8)
        assert (report.n, report.unit, report.clusters) == (study.n, name, len(sums))
    assert sizes["readers"] < sizes["texts"]
    for ways, names in (
        ((study.texts, study.readers), ("texts", "readers")),
        ((study.readers, study.texts), ("readers", "texts")),
    ):
        report = overlap(study.log_ratio, study.weight, ways, names)
        np.testing.assert_allclose(report.ess, sizes["readers"], rtol=1e-10)
        np.testing.assert_allclose(report.pareto_k, max(tails.values()), rtol=1e-8)
        assert report.unit == "readers"
    with pytest.raises(DataError, match="unit names 2 kinds of clusters, of which there are 1"):
        overlap(study.log_ratio, cluster=study.texts, unit=("texts", "readers"))


def test_an_estimator_warns_of_few_clusters():
    """A thousand rows of thirty texts, of which three count."""
    text = np.repeat(np.arange(30), 40)
    log_ratio = np.where(text < 3, 5.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        snipw(log_ratio, np.arange(1200.0) % 7)
    with pytest.warns(OverlapWarning, match=r"snipw: 30 clusters of 1200 logged texts count as 3\.4"):
        snipw(log_ratio, np.arange(1200.0) % 7, cluster=text)


def test_no_weighting_is_full_overlap():
    report = overlap(np.zeros(50))
    assert report.ess == pytest.approx(50)
    assert report.max_weight_share == pytest.approx(0.02)
    assert report.pareto_k == 0.0
    assert report.truncated_mass == 0.0


@pytest.mark.parametrize("shift", [-700.0, 700.0])
def test_a_shift_changes_nothing(study, shift):
    before, after = overlap(study.log_ratio), overlap(study.log_ratio + shift)
    for name, value in before.to_dict().items():
        expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-8, abs=1e-12)
        assert after.to_dict()[name] == expected


@pytest.mark.parametrize("k", [0.2, 0.5, 0.8, 1.3])
def test_pareto_k_finds_the_shape_of_a_generalized_pareto_law(k):
    rng = np.random.default_rng(0)
    found = [pareto_k(np.log(stats.genpareto.rvs(k, size=20_000, random_state=rng))) for _ in range(40)]
    # 425 values in the tail: one estimate has a standard error of (1 + k) / sqrt(425), about 0.1; the mean of 40
    # one of 0.016. The pull towards 0.5 moves it by 2% of the distance, the estimator's bias by about 0.01.
    assert np.mean(found) == pytest.approx(k, abs=0.08)
    assert np.std(found) < 2 * (1 + k) / math.sqrt(425)


@pytest.mark.parametrize("n", [60, 100, 400, 2500])
@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_pareto_k_is_that_of_arviz_stats(n, spread):
    """It takes log-likelihoods, minus the log-weights; at these sizes it rounds the tail's length as we do."""
    log_weight = spread * np.random.default_rng(n).normal(size=n)
    assert pareto_k(log_weight) == pytest.approx(float(array_stats.psislw(-log_weight)[1]), abs=1e-12)


def test_pareto_k_agrees_with_maximum_likelihood_on_the_tail():
    rng = np.random.default_rng(1)
    weight = rng.lognormal(0, 1.5, 10_000)
    tail = np.sort(weight)[-300:]
    fitted, _, _ = stats.genpareto.fit(tail - np.sort(weight)[-301], floc=0)
    assert pareto_k(np.log(weight)) == pytest.approx(fitted, abs=0.05)


def test_light_tails_are_light_and_heavy_ones_heavy():
    rng = np.random.default_rng(2)
    assert pareto_k(np.log(rng.uniform(0.5, 1.5, 4000))) < 0.2
    assert pareto_k(rng.normal(0, 4, 4000)) > 0.9


def test_weights_all_but_one_zero_give_numbers():
    log_ratio = np.full(100, -np.inf)
    log_ratio[3] = 0.0
    report = overlap(log_ratio)
    assert report.ess == 1.0
    assert report.max_weight_share == 1.0
    assert report.pareto_k == math.inf
    assert report.to_dict()["pareto_k"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in report.to_dict().values())


@pytest.mark.parametrize("n", [2, 5, 6, 10, 26])
def test_few_rows_give_numbers(n):
    report = overlap(np.random.default_rng(n).normal(size=n))
    assert not any(isinstance(value, float) and math.isnan(value) for value in vars(report).values())


def test_truncated_mass(study):
    rho = np.exp(study.log_ratio)
    cut = np.maximum(rho - 1.2, 0).sum() / rho.sum()
    assert truncated_mass(study.log_ratio, 1.2) == pytest.approx(cut, rel=1e-10)
    assert truncated_mass(study.log_ratio, 1e6) == 0.0
    with pytest.raises(ConfigError, match="clip"):
        truncated_mass(study.log_ratio, 0.0)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_the_mean_of_true_ratios_is_left_alone(spread):
    """Log-normal ratios of 300 rows, 1,000 times; with a spread of 2 they count as some 5 rows.

    None of 3,000 other samples warned, and 0.002 of them did with a spread of 2.5. Rates up to 1e-3 pass with
    probability 1 - 1e-6.
    """
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(1000):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_if_mean_ratio_is_not_one(
                spread * rng.normal(size=300) - spread**2 / 2, weight=rng.uniform(0.5, 2, 300)
            )
        found += len(caught)
    assert found <= 8


def test_log_probabilities_that_do_not_belong_together_are_reported():
    """Texts of five words: a policy N(0.2, 1) of each beside logs from N(0, 1), in nats and not."""
    z = np.random.default_rng(0).normal(size=(2000, 5))
    logged, policy = stats.norm.logpdf(z).sum(axis=1), stats.norm.logpdf(z, 0.2).sum(axis=1)
    warn_if_mean_ratio_is_not_one(policy - logged)
    with pytest.warns(OverlapWarning, match=r"have mean 0\.\d+ but should have mean 1"):
        warn_if_mean_ratio_is_not_one(policy - logged / np.log(10))  # logged in base 10
    with pytest.warns(OverlapWarning, match=r"have mean \d\.\d but should"):
        warn_if_mean_ratio_is_not_one(policy - 1.2 * logged)  # one word more than the policy was asked about
    with pytest.warns(OverlapWarning, match=r"mean exp\(-1400\)"):
        warn_if_mean_ratio_is_not_one(policy - logged - 1400)


def test_weights_of_both_signs_count_by_the_variance_of_the_sum():
    """Var(sum_i a_i e_i) / (sum_i a_i)^2 = 1 / ess for errors of variance one, and of their cluster sums likewise."""
    rng = np.random.default_rng(5)
    weights, codes = rng.normal(0.3, 1.0, size=60), np.arange(60) % 20
    error = rng.normal(size=(200_000, 20))
    sums = np.bincount(codes, weights)
    found = overlap(np.log(np.abs(weights)), cluster=codes, sign=np.sign(weights))
    np.testing.assert_allclose(found.ess, weights.sum() ** 2 / np.var(error @ sums), rtol=0.02)  # four standard errors
    np.testing.assert_allclose(found.ess_rows, weights.sum() ** 2 / np.sum(weights**2), rtol=1e-10)
    assert found.ess < 0.7 * overlap(np.log(np.abs(weights)), cluster=codes).ess


def test_signs_are_checked():
    with pytest.raises(DataError, match="sum of the weights is not positive"):
        overlap(np.zeros(10), sign=np.tile([1.0, -1.0], 5))
    with pytest.raises(DataError, match="sign"):
        overlap(np.zeros(10), sign=np.ones(9))
