"""Checks of the arrays that estimators take: every message names the argument and the first invalid index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalopt.errors import DataError, one_line
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64


def as_vector(name: str, values: Any, n: int | None = None) -> Float64:
    """Return ``values`` as finite float64 of shape [n], or raise `DataError` that names ``name`` and the index.

    Examples
    --------
    >>> from causalopt.arrays import as_vector
    >>> as_vector("xi", [1, 2])
    array([1., 2.])
    """
    vector = _as_float(name, values)
    if vector.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {vector.shape}")
    _check_length(name, len(vector), n)
    _check_finite(name, vector)
    return vector


def as_matrix(name: str, values: Any, n: int | None = None) -> Float64:
    """Return ``values`` as finite float64 of shape [n, d]; errors as in `as_vector`."""
    return _finite_matrix(name, _as_float(name, values), n)


def as_embeddings(name: str, values: Any, n: int | None = None) -> Embeddings:
    """`as_matrix` that keeps float32, which is half the memory, and rows that repeat."""
    if isinstance(values, RepeatedRows):
        _check_length(name, len(values), n)
        _finite_matrix(name, values.table, None)
        return values
    keeps = isinstance(values, np.ndarray) and values.dtype == np.float32
    return _finite_matrix(name, values if keeps else _as_float(name, values), n)


def _finite_matrix(name: str, matrix: Array, n: int | None) -> Array:
    if matrix.ndim != 2:
        raise DataError(f"{name} must have two dimensions, not shape {matrix.shape}")
    _check_length(name, len(matrix), n)
    _check_finite(name, matrix)
    return matrix


def as_log_ratio(name: str, values: Any) -> Float64:
    """Return log-ratios as float64 [n], nats; -inf (a text the policy never writes) is valid, nan and +inf are not."""
    vector = _as_float(name, values)
    if vector.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {vector.shape}")
    bad = np.isnan(vector) | (vector == np.inf)
    if bad.any():
        index = int(np.argmax(bad))
        raise DataError(f"{name}[{index}] is {vector[index]} ({int(bad.sum())} such): a log-ratio must be below +inf")
    return vector


def as_exposure(weight: Any, n: int) -> Float64:
    """Return exposures scaled to mean one, shape [n]; None means ones. Negative or all-zero weights are errors."""
    if weight is None:
        return np.ones(n)
    vector = as_vector("weight", weight, n)
    if (vector < 0).any():
        index = int(np.argmax(vector < 0))
        raise DataError(f"weight[{index}] is {vector[index]:g}: weights are exposures and must not be negative")
    largest = vector.max(initial=0.0)
    if largest == 0:
        raise DataError(f"weight is zero in all {n} rows: at least one row must count")
    vector = vector / largest
    return np.asarray(vector / vector.mean(), dtype=np.float64)


def as_codes(name: str, values: Any, n: int | None = None) -> Int64:
    """Return any labels (numbers or strings) as codes 0..k-1, shape [n]; a missing label is a `DataError`."""
    try:
        labels = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} is not an array of labels: {one_line(error)}") from None
    if labels.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {labels.shape}")
    _check_length(name, len(labels), n)
    codes, _ = pd.factorize(labels, use_na_sentinel=True)
    if (codes < 0).any():
        raise DataError(f"{name}[{int(np.argmax(codes < 0))}] is missing: every row needs a label")
    return codes.astype(np.int64)


def _as_float(name: str, values: Any) -> Float64:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not an array of numbers: {error}") from error


def _check_length(name: str, length: int, n: int | None) -> None:
    if n is not None and length != n:
        raise DataError(f"{name} has {length} rows, where the other arrays have {n}")


def _check_finite(name: str, values: Array) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = index[0] if len(index) == 1 else index
        raise DataError(f"{name}[{place}] is {values[index]} ({int(bad.sum())} such): values must be finite")


def shape_of(name: str, values: Any) -> tuple[int, ...]:
    """Return the shape of an array; rows of different lengths are a `DataError`."""
    try:
        return np.shape(values)
    except ValueError as error:
        raise DataError(f"{name} is not an array: {one_line(error)}") from None
