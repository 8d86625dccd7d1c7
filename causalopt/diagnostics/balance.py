"""Checks that the stabilized weights make the text independent of the reader, as they should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import as_embeddings, as_exposure, as_matrix, as_vector
from causalopt.doors import check_strings
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.jackknife import standard_errors
from causalopt.typing import Embeddings, Float64, Int64

COLUMNS = 4
"""Coordinates of the embedding that are held for all rows at a time."""


def covariate_balance(
    x: Any, w: Any, s: Any, *, weight: Any = None, names: Sequence[str] | None = None, cluster: Any = None
) -> pd.DataFrame:
    """Correlation of each covariate with the text's coordinates, before and after weighting.

    Under the weights s, text and covariates are independent, and every weighted correlation is zero except for
    sampling error.

    Parameters
    ----------
    x:
        Embeddings (or indicators of arms), shape [n, d].
    w:
        Encoded covariates, shape [n, p].
    s:
        Stabilized weight of each row, shape [n], positive in at least one row.
    weight:
        Exposure of each row, shape [n], or None for ones.
    names:
        Names of the p covariates.
    cluster:
        None, labels [n] of the unit that was drawn, or a tuple of two arrays of labels (two-way).

    Returns
    -------
    pandas.DataFrame
        One row for each covariate: ``covariate``; ``before`` and ``after``, the root mean square of its correlations
        with the coordinates that vary; ``largest_before`` and ``largest_after``, the largest absolute correlations;
        ``chance_before`` and ``chance_after``, the root mean square expected under independence: for independent
        rows 1 / sqrt(effective sample size); for clusters the root mean square of the correlations' clustered
        standard errors (for readers with several rows who were shown one text each, 1 / sqrt(readers)). A constant
        covariate has correlation zero.

    Raises
    ------
    DataError
        On invalid arrays.

    Notes
    -----
    Weighted correlations as a measure of balance for a continuous treatment: Fong, Hazlett and Imai (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import covariate_balance
    >>> w = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    >>> x = np.array([[0.0], [0.0], [1.0], [0.0], [1.0], [1.0]])
    >>> s = 0.5 / np.array([2 / 3, 2 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    >>> covariate_balance(x, w, s, names=["age"])[["covariate", "before", "after"]].round(3).values.tolist()
    [['age', 0.333, 0.0]]
    """
    x = as_embeddings("x", x)
    w = as_matrix("w", w, len(x))
    exposure = as_exposure(weight, len(x))
    after = _weighted(s, exposure)
    names = _names(names, w.shape[1])
    codes = cluster_codes(cluster, len(x))
    found: list[list[Float64]] = [[], [], [], []]
    for part in _columns(x):
        part = part[:, np.ptp(part[exposure > 0], axis=0) > 1e-12 * np.abs(part).max(axis=0, initial=0.0)]
        for k, one in enumerate((exposure, after)):
            found[k].append(_correlations(part, w, one))
            found[2 + k].append(_errors(part, w, one, found[k][-1], codes))
    before_r, after_r, *chance = (np.concatenate(parts) for parts in found)
    return pd.DataFrame(
        {
            "covariate": list(names),
            "before": _root_mean_square(before_r),
            "after": _root_mean_square(after_r),
            "largest_before": np.abs(before_r).max(axis=0, initial=0.0),
            "largest_after": np.abs(after_r).max(axis=0, initial=0.0),
            "chance_before": _chance(chance[0], exposure, codes),
            "chance_after": _chance(chance[1], after, codes),
        }
    )


def weight_calibration(
    x: Any, w: Any, s: Any, *, weight: Any = None, names: Sequence[str] | None = None, cluster: Any = None
) -> pd.DataFrame:
    """Test the moments that a correct stabilized weight preserves: E[s] = 1, E[s w] = E[w], E[s x] = E[x].

    They follow from E[s | w] = 1 and E[s | x] = 1, which in general hold only for s = p(x) / p(x|w).

    Parameters
    ----------
    x, w, s, weight, names, cluster:
        As in `balance`.

    Returns
    -------
    pandas.DataFrame
        One row for the mean of s, one for each covariate, and one for the embedding (the coordinate with the largest
        statistic): ``moment``, ``shift`` (for the mean of s the difference from 1; for the others in standard
        deviations), its standard error ``se`` (for independent clusters, or rows), and ``statistic``, shift over se.

    Raises
    ------
    DataError
        On invalid arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import weight_calibration
    >>> w = np.array([[0.0], [0.0], [0.0], [1.0], [1.0], [1.0]])
    >>> s = 0.5 / np.array([2 / 3, 2 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    >>> weight_calibration(w, w, s)["shift"].abs().round(6).tolist()
    [0.0, 0.0, 0.0]
    """
    x = as_embeddings("x", x)
    n = len(x)
    w = as_matrix("w", w, n)
    s = as_vector("s", s, n)
    exposure = as_exposure(weight, n)
    names = _names(names, w.shape[1])
    codes = cluster_codes(cluster, n)
    columns = (_standardized(part, exposure) for part in _columns(x))
    known = np.column_stack([np.ones(n), _standardized(w, exposure)])
    parts = [_shifts(part, s, exposure, codes) for part in chain([known], columns)]
    shift, se = (np.concatenate(both) for both in zip(*parts, strict=True))
    statistic = np.divide(shift, se, out=np.zeros_like(shift), where=se > 0)
    first = 1 + w.shape[1]
    keep = list(range(first))
    moments = ["mean of s", *names]
    if x.shape[1]:
        worst = first + int(np.argmax(np.abs(statistic[first:])))
        keep.append(worst)
        moments.append(f"embedding coordinate {worst - first}")
    return pd.DataFrame({"moment": moments, "shift": shift[keep], "se": se[keep], "statistic": statistic[keep]})


def _names(names: Any, p: int) -> Sequence[str]:
    if names is None:
        return [f"covariate {index}" for index in range(p)]
    listed: list[str] = names.tolist() if isinstance(names, pd.Index | np.ndarray) else names
    check_strings("names", listed, "the names of the covariates")
    if len(listed) != p:
        raise DataError(f"names has {len(listed)} entries for {p} covariates")
    return listed


def _weighted(s: Any, exposure: Float64) -> Float64:
    s = as_vector("s", s, len(exposure))
    if (s < 0).any() or not (s * exposure).any():
        raise DataError("s must not be negative, and must be positive in at least one row that counts")
    return as_exposure(s / s.max() * exposure, len(exposure))


def _standardized(values: Float64, weight: Float64) -> Float64:
    """Scale columns to weighted mean 0 and variance 1; a constant column becomes zero."""
    centered = values - np.average(values, axis=0, weights=weight)
    deviation = np.sqrt(np.average(centered**2, axis=0, weights=weight))
    constant = deviation <= 1e-12 * np.abs(values).max(axis=0, initial=0.0)
    return np.where(constant, 0.0, centered / np.where(constant, 1.0, deviation))


def _correlations(x: Float64, w: Float64, weight: Float64) -> Float64:
    """Weighted correlations, shape [d, p]."""
    left, right = _standardized(x, weight), _standardized(w, weight)
    return np.asarray((left * weight[:, None]).T @ right / weight.sum(), dtype=np.float64)


def _columns(x: Embeddings) -> Iterator[Float64]:
    """Yield columns of all rows, a few at a time."""
    for start in range(0, x.shape[1], COLUMNS) or [0]:
        yield np.asarray(x[:, start : start + COLUMNS], dtype=np.float64)


def _errors(x: Float64, w: Float64, weight: Float64, found: Float64, cluster: tuple[Int64, ...]) -> Float64:
    """Clustered standard errors of the correlations, shape [d, p]; nothing if every row is a cluster."""
    if not cluster or not x.shape[1]:
        return np.zeros((0, w.shape[1]))
    left, right = _standardized(x, weight), _standardized(w, weight)
    n, share = len(x), weight / weight.sum()
    equal = np.full(n, 1 / n)
    errors = [
        standard_errors(n * share[:, None] * (left * column[:, None] - correlation), equal, cluster)
        for column, correlation in zip(right.T, found.T, strict=True)
    ]
    return np.array(errors, dtype=np.float64).reshape(len(errors), -1).T


def _chance(errors: Float64, weight: Float64, cluster: tuple[Int64, ...]) -> Float64:
    """Root mean square over the coordinates of the correlations expected by chance, shape [p]."""
    if not cluster:
        return np.full(errors.shape[1], np.sqrt(np.sum(weight**2)) / weight.sum())
    return _root_mean_square(errors)


def _root_mean_square(values: Float64) -> Float64:
    """Root mean square over the first dimension; zero if it is empty."""
    return np.asarray(np.sqrt(np.sum(values**2, axis=0) / max(len(values), 1)), dtype=np.float64)


def _shifts(columns: Float64, s: Float64, exposure: Float64, cluster: tuple[Int64, ...]) -> tuple[Float64, Float64]:
    """Mean of (s - 1) times each column, and its standard error."""
    term = (s - 1)[:, None] * columns
    shift = np.mean(exposure[:, None] * term, axis=0)
    influence = exposure[:, None] * (term - shift)
    n = len(s)
    return shift, standard_errors(influence, np.full(n, 1 / n), cluster)
