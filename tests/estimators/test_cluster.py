"""Labels of clusters: what they may be, and what is refused."""

import numpy as np
import pytest

from causalopt.errors import DataError
from causalopt.evaluation import ipw


def test_labels_may_be_anything_and_their_names_do_not_matter(study):
    names = np.array([f"text {code}" for code in study.texts])
    assert ipw(study.log_ratio, study.xi, cluster=names).se == pytest.approx(
        ipw(study.log_ratio, study.xi, cluster=study.texts * 100 - 7).se, rel=1e-12
    )


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
