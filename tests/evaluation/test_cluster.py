"""Clustered errors against statsmodels, whose constant-only regression estimates the same mean."""

import numpy as np
import pandas as pd
import pytest

from causalopt.errors import DataError
from causalopt.evaluation import ipw
from causalopt.evaluation.cluster import cluster_codes, standard_error

sm = pytest.importorskip("statsmodels.api")


def statsmodels_se(values, weight, groups):
    model = sm.WLS(values, np.ones(len(values)), weights=weight)
    if groups is None:
        # HC1 scales by n / (n - 1)
        return float(model.fit(cov_type="HC1").bse[0])
    groups = np.asarray(groups) if not isinstance(groups, tuple) else np.column_stack(groups)
    return float(model.fit(cov_type="cluster", cov_kwds={"groups": groups}).bse[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ways", ["rows", "texts", "readers", "both"])
def test_standard_error_equals_statsmodels(study, weighted, ways):
    weight = study.weight if weighted else np.ones(study.n)
    # a strong common part, so that clustering matters
    values = study.xi + 2 * np.cos(study.texts) + 2 * np.sin(study.readers)
    cluster = {
        "rows": None,
        "texts": study.texts,
        "readers": study.readers,
        "both": (study.texts, study.readers),
    }[ways]
    estimate = ipw(np.zeros(study.n), values, weight=weight, cluster=cluster)
    np.testing.assert_allclose(estimate.value, np.average(values, weights=weight), rtol=1e-10)
    # statsmodels' factor is G / (G - 1) * (n - 1) / (n - 1): the same as ours, in each of the three parts of two ways
    np.testing.assert_allclose(estimate.se, statsmodels_se(values, weight, cluster), rtol=1e-10)


def test_two_ways_written_out(study):
    influence = study.xi - study.xi.mean()
    cluster = cluster_codes((study.texts, study.readers), study.n)

    def part(labels):
        sums = pd.Series(influence).groupby(pd.Series(list(labels))).sum()
        return len(sums) / (len(sums) - 1) * (sums**2).sum()

    pairs = zip(study.texts.tolist(), study.readers.tolist(), strict=True)
    variance = part(study.texts) + part(study.readers) - part(pairs)
    np.testing.assert_allclose(standard_error(influence, cluster), np.sqrt(variance) / study.n, rtol=1e-12)


def test_two_ways_never_come_out_at_or_below_zero():
    # rows that cancel within both kinds of clusters: A and B are near zero, AB is not
    influence = np.array([1.0, -1.0, -1.0, 1.0]) + np.array([0.1, 0.1, -0.1, -0.1])
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    one_way = standard_error(influence, (first,))
    assert standard_error(influence, (first, second)) == one_way > 0


def test_clusters_of_one_row_are_rows(study):
    influence = study.xi - study.xi.mean()
    assert standard_error(influence, (np.arange(study.n),)) == pytest.approx(standard_error(influence), rel=1e-12)


def test_labels_may_be_anything_and_their_names_do_not_matter(study):
    names = np.array([f"text {code}" for code in study.texts])
    assert ipw(study.log_ratio, study.xi, cluster=names).se == pytest.approx(
        ipw(study.log_ratio, study.xi, cluster=study.texts * 100 - 7).se, rel=1e-12
    )


def test_errors_of_overflowing_size_are_still_numbers():
    influence = np.array([1.0, -1.0, 2.0, -2.0]) * 1e200
    assert standard_error(influence) == pytest.approx(1e200 * np.sqrt(10 * 4 / 3) / 4, rel=1e-12)


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ([0, 0, 0, 0], r"one value in all 4 rows"),
        ([0, 1, 0], r"cluster has 3 rows, where the other arrays have 4"),
        (([0, 1, 0, 1], [0, 0, 0, 0]), r"cluster\[1\] has one value"),
        (([0, 1, 0, 1],) * 3, r"3 ways"),
        (["a", None, "b", "b"], r"cluster\[1\] is missing"),
        ([0.0, 1.0, np.nan, 1.0], r"cluster\[2\] is missing"),
    ],
)
def test_bad_clusters_are_named(cluster, message):
    with pytest.raises(DataError, match=message):
        ipw(np.zeros(4), np.arange(4.0), cluster=cluster)
