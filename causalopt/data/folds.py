"""Folds by group: all rows of a text stay together, so that no model is scored on a text it has seen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from causalopt.blocks import ROWS
from causalopt.doors import check_number, check_seed
from causalopt.errors import CausalOptWarning, DataError
from causalopt.repeated import RepeatedRows
from causalopt.typing import Embeddings, Int64


def group_folds(group: Int64, folds: int, seed: int) -> Int64:
    """Assign the groups to ``folds`` folds at random, shape [n], labels 0..folds-1.

    Raises
    ------
    ConfigError
        When the number of folds or the seed is not a whole number, or the seed is negative or beyond 2**32 - 1.
    DataError
        When there are fewer groups than folds.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.data.folds import group_folds
    >>> fold = group_folds(np.array([0, 0, 1, 1, 2, 2]), folds=3, seed=0)
    >>> bool(fold[0] == fold[1]), sorted(set(fold.tolist()))
    (True, [0, 1, 2])
    """
    check_number("folds", folds, whole=True)
    check_seed("seed", seed)
    if folds < 2:
        raise DataError(f"cross-fitting needs at least 2 folds, not {folds}")
    groups = len(np.unique(group))
    if groups < 2:
        raise DataError(
            "all rows are of one group (one text, unless a group column is named), so that no fold can be held out: "
            "name a group column with more groups, such as the reader"
        )
    if groups < folds:
        raise DataError(
            f"there are {groups} groups (distinct texts, unless a group column is named) for {folds} folds: use "
            f"at most {groups} folds, or name a group column with more groups, such as the reader"
        )
    fold = np.empty(len(group), dtype=np.int64)
    splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(group, groups=group)):
        fold[held_out] = k
    return fold


def inner_folds(text_id: Int64, folds: int, seed: int) -> Int64 | None:
    """Folds for choosing settings, shape [n]: all rows of a text stay together.

    Texts are assigned in the order of their ids. There are fewer folds if there are fewer texts, and None is returned
    for a single text.
    """
    folds = min(folds, len(np.unique(text_id)))
    return None if folds < 2 else group_folds(text_id, folds, seed)


def row_codes(rows: Embeddings) -> Int64:
    """Codes of equal rows, shape [n], numbered by first appearance.

    The order of the codes does not depend on the numbers, whose last bits differ from processor to processor.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.data.folds import row_codes
    >>> row_codes(np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]])).tolist()
    [0, 1, 0]
    """
    if isinstance(rows, RepeatedRows):
        return pd.factorize(row_codes(rows.table)[rows.code])[0].astype(np.int64)
    if rows.shape[1] == 0:
        return np.zeros(len(rows), dtype=np.int64)
    if len(rows) > ROWS:
        # A column at a time: codes of the pairs of a row's code so far and its number in the next column.
        codes = np.zeros(len(rows), dtype=np.int64)
        for column in rows.T:
            of_column, levels = pd.factorize(column, use_na_sentinel=False)
            codes = pd.factorize(codes * len(levels) + of_column)[0].astype(np.int64)
        return codes
    contiguous = np.ascontiguousarray(rows) + 0.0  # -0.0 becomes 0.0: equal numbers have equal bytes
    whole = contiguous.view(np.dtype((np.void, contiguous.dtype.itemsize * contiguous.shape[1]))).ravel()
    known: dict[object, int] = {}  # for few rows hashing takes a third of the time, and little memory
    return np.array([known.setdefault(row, len(known)) for row in whole.tolist()], dtype=np.int64)


def text_ids(x: Embeddings, text_id: Int64 | None) -> Int64:
    """Ids of the rows' texts, shape [n]; without given ids, rows with equal embeddings count as one text."""
    return row_codes(x) if text_id is None else text_id


def external_folds(fold: Any, group: Int64) -> Int64:
    """Read folds made elsewhere, as labels of shape [repeats, n].

    Parameters
    ----------
    fold:
        One label per row [n]; or labels [repeats, n]; or scikit-learn's list of (train, test) index pairs, whose test
        parts contain every row once.
    group:
        Shape [n]; a group that lies in several folds is reported.

    Raises
    ------
    DataError
        If the length differs, a row is in no fold or in two, a training part is not the complement of its test part,
        or there is a single fold.

    Warns
    -----
    CausalOptWarning
        If groups are split over folds, with their number.
    """
    labels = _labels(fold, len(group))
    for repeat in labels:
        if len(np.unique(repeat)) < 2:
            raise DataError("fold holds a single fold: cross-fitting needs at least 2")
        pairs = pd.DataFrame({"group": group, "fold": repeat}).drop_duplicates()
        split = int((pairs["group"].value_counts() > 1).sum())
        if split:
            warnings.warn(
                f"the given folds split {split} of {pairs['group'].nunique()} groups: an outcome model can memorise "
                "a text that it is then scored on",
                CausalOptWarning,
                stacklevel=3,
            )
    return labels


def _labels(fold: Any, n: int) -> Int64:
    if isinstance(fold, Sequence) and len(fold) and isinstance(fold[0], tuple) and len(fold[0]) == 2:
        return _labels_of_pairs(fold, n)
    values = np.atleast_2d(np.asarray(fold))
    if values.ndim != 2 or values.shape[1] != n:
        raise DataError(f"fold has shape {np.shape(fold)}; it must hold one label for each of the {n} rows")
    if pd.isna(values).any():
        raise DataError(f"fold has no label at row {int(np.flatnonzero(pd.isna(values).any(axis=0))[0])}")
    return np.stack([np.unique(repeat, return_inverse=True)[1] for repeat in values]).astype(np.int64)


def _labels_of_pairs(pairs: Sequence[tuple[Any, Any]], n: int) -> Int64:
    labels = np.full(n, -1, dtype=np.int64)
    for k, (train, test) in enumerate(pairs):
        for part in (train, test):
            index = np.asarray(part)
            if index.size and (index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= n):
                raise DataError(f"fold {k} must hold row positions from 0 to {n - 1}")
        if (labels[test] >= 0).any():
            row = int(np.asarray(test)[labels[test] >= 0][0])
            raise DataError(f"row {row} is held out in folds {labels[row]} and {k}: each row belongs to one")
        labels[test] = k
        rest = np.setdiff1d(np.arange(n), test)
        if not np.array_equal(np.unique(train), rest):
            raise DataError(f"fold {k} trains on {len(np.unique(train))} rows, not on the {len(rest)} outside it")
    if (labels < 0).any():
        raise DataError(f"{int((labels < 0).sum())} rows (first: {int(np.argmin(labels))}) are held out in no fold")
    return labels[None, :]
