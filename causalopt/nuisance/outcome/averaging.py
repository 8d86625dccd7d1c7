"""Averages of an outcome model over readers or over texts, for models that cannot compute them exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from causalopt.data.folds import row_codes
from causalopt.nuisance.coordinates import PrincipalCoordinates, standardization
from causalopt.typing import Array, Float64, Int64

READERS = 100
"""Number of readers in a sampled average."""
TEXTS = 64
"""Number of texts in a sampled average."""
READERS_A_DIRECTION = 4
"""Smallest number of sampled readers for each direction of the covariates on which the sample is calibrated."""
CHUNK = 20_000
"""Number of pairs that are predicted at once: their columns fit a processor's cache."""

Predict = Callable[[Array, Array], Float64]


def mean_over_readers(
    predict: Predict, x: Array, w_reference: Array, weight_reference: Float64, *, readers: int = READERS, seed: int = 0
) -> tuple[Float64, Float64]:
    """Mean over the reference readers of ``predict(x_i, w_k)``.

    Exact if there are at most ``readers`` distinct readers; otherwise over a sample that is spread evenly along the
    readers' first principal direction (systematic sampling with a random start), in proportion to their weights. The
    sample is then calibrated: its weights change as little as possible so that its mean covariates equal those of all
    readers (the regression estimator of Cassel, Särndal and Wretman 1976; Deville and Särndal 1992). A model that is
    linear in w is therefore averaged exactly. For other models only the nonlinear part has an error, which is common to
    all texts if it does not depend on them. With many covariates this holds for their leading principal directions.

    Returns
    -------
    mean, se:
        Shape [n]; ``se`` is the Monte Carlo standard error of each mean, outcome units, from the leave-one-out
        residuals of a linear fit to the sample; zero if the mean is exact. It treats the sample as a simple random
        sample, which overestimates the error.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.averaging import mean_over_readers
    >>> product = lambda x, w: x[:, 0] * w[:, 0]
    >>> mean, se = mean_over_readers(product, np.array([[2.0]]), np.array([[1.0], [3.0]]), np.ones(2))
    >>> mean.tolist(), se.tolist()
    ([4.0], [0.0])
    """
    return mean_of_pairs(partial(all_pairs, predict), x, w_reference, weight_reference, readers=readers, seed=seed)


def mean_of_pairs(
    pairs: Predict, x: Array, w_reference: Array, weight_reference: Float64, *, readers: int = READERS, seed: int = 0
) -> tuple[Float64, Float64]:
    """`mean_over_readers` of a model whose ``pairs(x, w)`` are the predictions m(x_i, w_k), shape [n, k]."""
    w, weight = distinct_rows(w_reference, weight_reference)
    if len(w) <= readers:
        return pairs(x, w) @ (weight / weight.sum()), np.zeros(len(x))
    sample = _systematic(w, weight, readers, seed)
    covariates = _leading(w, weight, readers // READERS_A_DIRECTION)[sample]
    values = pairs(x, w[sample])
    spread = covariates - covariates.mean(axis=0)
    share = 1 / readers - np.linalg.lstsq(spread.T, covariates.mean(axis=0))[0]  # all readers have mean zero
    fitted = np.linalg.svd(np.column_stack([np.ones(readers), spread]), full_matrices=False)[0]
    residual = values - (values @ fitted) @ fitted.T
    left_out = residual / np.maximum(1 - np.sum(fitted**2, axis=1), 1e-9)
    return values @ share, np.sqrt(left_out**2 @ share**2)


def mean_over_texts(
    predict: Callable[[Array, Array, Int64], Float64],
    x_draws: Array,
    w: Array,
    text_id: Int64,
    *,
    texts: int = TEXTS,
    seed: int = 0,
) -> Float64:
    """Mean over texts of ``predict(x_j, w_i, id_j)``, shape [n]; at most ``texts``, drawn without replacement."""
    if len(x_draws) > texts:
        chosen = np.random.default_rng(seed).choice(len(x_draws), texts, replace=False)
        x_draws, text_id = x_draws[chosen], text_id[chosen]
    reader = row_codes(w)
    _, first = np.unique(reader, return_index=True)
    position = np.arange(len(x_draws))
    values = all_pairs(
        lambda readers, j: predict(x_draws[j[:, 0]], readers, text_id[j[:, 0]]), w[first], position[:, None]
    )
    return np.asarray(values.mean(axis=1)[reader])


def distinct_rows(rows: Array, weight: Float64) -> tuple[Array, Float64]:
    """Distinct rows, each with the sum of the weights of the rows that equal it."""
    codes = row_codes(rows)
    _, first = np.unique(codes, return_index=True)
    return rows[first], np.bincount(codes, weights=weight).astype(np.float64)


def all_pairs(predict: Predict, rows: Array, others: Array) -> Float64:
    """predict(rows_i, others_k), shape [n, k], a block of rows at a time."""
    step = max(1, CHUNK // len(others))
    blocks = []
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        left = np.repeat(block, len(others), axis=0)
        right = np.tile(others, (len(block), 1))
        blocks.append(predict(left, right).reshape(len(block), len(others)))
    return np.concatenate(blocks) if blocks else np.zeros((0, len(others)))


def _leading(w: Array, weight: Float64, most: int) -> Float64:
    """Leading principal coordinates of the standardised covariates, with mean zero over all readers, shape [n, r]."""
    center, scale = standardization(w, weight)
    standard = (w - center) / scale
    return PrincipalCoordinates.of(standard, weight).transform(standard)[:, :most]


def _systematic(w: Array, weight: Float64, size: int, seed: int) -> Array:
    centered = w - np.average(w, axis=0, weights=weight)
    direction = np.linalg.eigh((centered * weight[:, None]).T @ centered)[1][:, -1]
    order = np.argsort(centered @ direction, kind="stable")
    upper = np.cumsum(weight[order]) / weight.sum()
    start = np.random.default_rng(seed).random()
    return np.asarray(order[np.minimum(np.searchsorted(upper, (np.arange(size) + start) / size), len(w) - 1)])
