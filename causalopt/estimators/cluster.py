"""Clusters of rows: their codes, the cells of two-way clustering, and sums within clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from causalopt.arrays import as_codes
from causalopt.errors import DataError
from causalopt.typing import Float64, Int64


def cluster_codes(cluster: Any, n: int) -> tuple[Int64, ...]:
    """Bring ``cluster`` into one form: a tuple of none, one or two arrays of codes, each of shape [n].

    Parameters
    ----------
    cluster:
        None, labels of shape [n], or a tuple of two such arrays (two-way: texts and readers, say).
    n:
        Number of rows.

    Raises
    ------
    DataError
        On a wrong length, a missing label, more than two ways, or a single cluster (which gives no standard error).

    Examples
    --------
    >>> from causalopt.estimators.cluster import cluster_codes
    >>> cluster_codes(["a", "b", "a"], 3)
    (array([0, 1, 0]),)
    """
    if cluster is None:
        return ()
    ways = cluster if isinstance(cluster, tuple) else (cluster,)
    if len(ways) > 2:
        raise DataError(f"cluster has {len(ways)} ways; one or two are supported")
    codes = []
    for index, labels in enumerate(ways):
        name = "cluster" if len(ways) == 1 else f"cluster[{index}]"
        code = as_codes(name, labels, n)
        if code.max(initial=0) == 0:
            raise DataError(f"{name} has one value in all {n} rows: a standard error needs at least two clusters")
        codes.append(code)
    return tuple(codes)


def cluster_sums(values: Float64, codes: Int64) -> Float64:
    """Sum values over the rows of each cluster: [n] to [G], or [n, k] to [G, k]."""
    if values.ndim == 1:
        return np.bincount(codes, weights=values).astype(np.float64)
    n = len(values)
    member = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(int(codes.max()) + 1, n))
    return np.asarray(member @ values, dtype=np.float64)


def pair_codes(first: Int64, second: Int64) -> Int64:
    """Codes of the cells of two clusterings, shape [n]."""
    codes, _ = pd.factorize(first * (second.max() + 1) + second)
    return np.asarray(codes, dtype=np.int64)
