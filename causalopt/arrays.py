"""Checks of the arrays that estimators take: every message names the argument and the first invalid index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalopt.errors import DataError, one_line
from causalopt.repeated import RepeatedRows
from causalopt.typing import Array, Embeddings, Float64, Int64

LARGEST = 1e75
"""Absolute values must be below this: their fourth powers are computed."""


def as_vector(
    name: str, values: Any, n: int | None = None, *, where: Array | None = None, below: float = LARGEST
) -> Float64:
    """Return ``values`` as finite float64 of shape [n], or raise `DataError` that names ``name`` and the index.

    Values outside of ``where`` [n] are not looked at, and returned as 0. Where ``below`` is infinite, any size is
    valid: for exposures, whose unit does not matter, and for weights that are truncated.

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
    if where is not None:
        vector = np.where(where, vector, 0.0)
    _check_finite(name, vector, below)
    return vector


def as_outcome(name: str, values: Any, n: int) -> Float64:
    """Return ``values`` as float64 of shape [n], in which nan means that there is no outcome; errors as `as_vector`."""
    vector = _as_float(name, values)
    where = ~np.isnan(vector)
    return np.where(where, as_vector(name, vector, n, where=where if vector.ndim == 1 else None), np.nan)


def as_matrix(name: str, values: Any, n: int | None = None) -> Float64:
    """Return ``values`` as finite float64 of shape [n, d]; errors as in `as_vector`."""
    return _finite_matrix(name, _as_float(name, values), n)


def as_embeddings(name: str, values: Any, n: int | None = None) -> Embeddings:
    """`as_matrix` that keeps float32, which is half the memory, and rows that repeat."""
    if isinstance(values, RepeatedRows):
        _check_length(name, len(values), n)
        _finite_matrix(name, values.table, None)
        return values
    keeps = type(values) is np.ndarray and values.dtype == np.float32
    return _finite_matrix(name, values if keeps else _as_float(name, values), n)


def _finite_matrix(name: str, matrix: Array, n: int | None) -> Array:
    if matrix.ndim != 2:
        raise DataError(f"{name} must have two dimensions, not shape {matrix.shape}")
    _check_length(name, len(matrix), n)
    _check_finite(name, matrix)
    return matrix


def as_log_ratio(name: str, values: Any, n: int | None = None) -> Float64:
    """Return log-ratios as float64 [n], nats; -inf (a text the policy never writes) is valid, nan and +inf are not."""
    vector = _as_float(name, values)
    if vector.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {vector.shape}")
    _check_length(name, len(vector), n)
    bad = np.isnan(vector) | (vector == np.inf)
    if bad.any():
        index = int(np.argmax(bad))
        raise DataError(f"{name}[{index}] is {vector[index]} ({int(bad.sum())} such): a log-ratio must be below +inf")
    _check_size(name, vector, ~np.isneginf(vector))
    return vector


def as_exposure(weight: Any, n: int) -> Float64:
    """Return exposures scaled to mean one, shape [n]; None means ones. Negative or all-zero weights are errors."""
    if weight is None:
        return np.ones(n)
    vector = as_vector("weight", weight, n, below=np.inf)
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
    labels = _as_array(name, values, "labels")
    if labels.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {labels.shape}")
    _check_length(name, len(labels), n)
    if labels.dtype.kind == "c":
        raise DataError(f"{name} must hold numbers or names, not values of type {labels.dtype.name}")
    try:
        codes, _ = pd.factorize(labels.astype(labels.dtype.newbyteorder("="), copy=False), use_na_sentinel=True)
    except TypeError as error:
        raise DataError(f"{name} must hold numbers or names: {one_line(error)}") from None
    if (codes < 0).any():
        raise DataError(f"{name}[{int(np.argmax(codes < 0))}] is missing: every row needs a label")
    return codes.astype(np.int64)


def _as_float(name: str, values: Any) -> Float64:
    array = _as_array(name, values, "numbers")
    if array.dtype.kind in "cmM":  # numpy would drop the imaginary part, and read a time as a number
        raise DataError(f"{name} is not an array of numbers: its values are of type {array.dtype.name}")
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} is not an array of numbers: {one_line(error)}") from error


def _as_array(name: str, values: Any, what: str) -> Array:
    if np.ma.is_masked(values):
        raise DataError(f"{name} is a masked array: leave out the rows that are masked, or fill them in")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises the last for a tensor that needs a gradient
        raise DataError(f"{name} is not an array of {what}: {one_line(error)}") from None


def _check_length(name: str, length: int, n: int | None) -> None:
    if n is not None and length != n:
        raise DataError(f"{name} has {length} rows, where the other arrays have {n}")


def _check_finite(name: str, values: Array, below: float = LARGEST) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(f"{name}{_first(values, bad)}: values must be finite")
    if below < np.inf:
        _check_size(name, values)


def _check_size(name: str, values: Array, where: Any = True) -> None:
    """Raise `DataError` if a value ``where`` it counts is too large for the products and squares of an estimate."""
    if values.dtype == np.float32:  # holds no such number
        return
    if values.max(initial=0, where=where) < LARGEST and values.min(initial=0, where=where) > -LARGEST:
        return
    bad = (np.abs(values) >= LARGEST) & where
    raise DataError(
        f"{name}{_first(values, bad)}: values must be below {LARGEST:g} in size, so that their squares can be "
        "computed: give them in other units"
    )


def _first(values: Array, bad: Array) -> str:
    """Describe the first bad value: its place, itself, and how many there are."""
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"[{', '.join(map(str, index))}] is {values[index]} ({int(bad.sum())} such)"


def as_positions(name: str, values: Any, n: int) -> Int64:
    """Return positions among ``n`` rows, or those at which a mask [n] is true, as integers, or raise `DataError`.

    Examples
    --------
    >>> from causalopt.arrays import as_positions
    >>> as_positions("index", [False, True, True], 3), as_positions("index", [2, 0], 3)
    (array([1, 2]), array([2, 0]))
    """
    chosen = _as_array(name, values, "positions")
    if chosen.ndim != 1:
        raise DataError(f"{name} must have one dimension, not shape {chosen.shape}")
    if chosen.dtype.kind == "b":
        _check_length(name, len(chosen), n)
        return np.flatnonzero(chosen)
    if len(chosen) and chosen.dtype.kind not in "iu":
        raise DataError(f"{name} must hold positions, which are whole numbers, or be a mask, not {chosen.dtype.name}")
    if len(chosen) and not (-n <= chosen.min() and chosen.max() < n):
        wrong = chosen.max() if chosen.max() >= n else chosen.min()
        raise DataError(f"{name} holds the position {wrong}, and there are {n} rows")
    return chosen.astype(np.int64)


def shape_of(name: str, values: Any) -> tuple[int, ...]:
    """Return the shape of an array; rows of different lengths are a `DataError`."""
    return _as_array(name, values, "numbers").shape
