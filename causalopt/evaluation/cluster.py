"""Standard error of a mean whose rows come in one or two kinds of clusters."""

from __future__ import annotations

from typing import Any

import numpy as np

from causalopt.errors import DataError
from causalopt.evaluation.validation import as_codes
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
        On a wrong length, a missing label, more than two ways, or a single cluster (which leaves no error to estimate).

    Examples
    --------
    >>> from causalopt.evaluation.cluster import cluster_codes
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


def cluster_sums(influence: Float64, codes: Int64) -> Float64:
    """Sum of the influence values in each cluster, shape [number of clusters]."""
    return np.bincount(codes, weights=influence).astype(np.float64)


def pair_codes(first: Int64, second: Int64) -> Int64:
    """Codes of the cells of two ways, shape [n]."""
    _, codes = np.unique(first * (second.max() + 1) + second, return_inverse=True)
    return codes.reshape(-1).astype(np.int64)


def standard_error(influence: Float64, cluster: tuple[Int64, ...] = ()) -> float:
    """Compute the standard error of a mean from its influence values.

    Parameters
    ----------
    influence:
        Shape [n], outcome units, sum zero.
    cluster:
        From `cluster_codes`.

    Returns
    -------
    float
        ``sqrt(G / (G - 1) * sum_c (sum_{i in c} influence_i)^2) / n`` with G clusters (rows, when there are none).
        Two ways A and B (Cameron, Gelbach and Miller 2011): the variances combine as ``A + B - AB``, each with its
        own ``G / (G - 1)``, where AB clusters by the pair. That difference may come out at or below zero in a small
        sample; it is then replaced by the larger of A and B.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation.cluster import standard_error
    >>> round(standard_error(np.array([-1.0, 1.0, -1.0, 1.0])), 4)
    0.5774
    >>> standard_error(np.array([-1.0, -1.0, 1.0, 1.0]), (np.array([0, 0, 1, 1]),))
    1.0
    """
    scale = float(np.abs(influence).max(initial=0.0))
    if scale == 0:
        return 0.0
    scaled = influence / scale  # influence values near the largest float must not overflow when squared
    if not cluster:
        variance = _sum_of_squares(scaled)
    elif len(cluster) == 1:
        variance = _sum_of_squares(cluster_sums(scaled, cluster[0]))
    else:
        first = _sum_of_squares(cluster_sums(scaled, cluster[0]))
        second = _sum_of_squares(cluster_sums(scaled, cluster[1]))
        both = first + second - _sum_of_squares(cluster_sums(scaled, pair_codes(*cluster)))
        variance = both if both > 0 else max(first, second)
    return float(np.sqrt(variance) / len(influence) * scale)


def _sum_of_squares(sums: Float64) -> float:
    count = len(sums)
    return float(count / (count - 1) * np.sum(sums**2))
