"""What attributes of the texts do: the best linear summary of the responses in them, adjusted or as logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import as_exposure, as_vector
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes, cluster_sums, pair_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import Deletions
from causalopt.typing import Float64, Int64

_SINGULAR = 1e-9
"""Share of an attribute's variation, given the others or without one cluster, that counts as none."""
_HELD = 2_000_000
"""Numbers that the regressions without each cluster hold in memory at once."""


@dataclass(frozen=True, eq=False)
class AttributeEffects:
    """Coefficients of attributes in a linear projection.

    Attributes
    ----------
    effects:
        By attribute: the change of the projected response for one unit more of it, the other attributes equal, in
        outcome units.
    left_out:
        By attribute that has no effect of its own in these rows: why.
    """

    effects: dict[str, Estimate]
    left_out: dict[str, str]


def attribute_effects(
    attributes: pd.DataFrame, values: Any, *, weight: Any = None, cluster: Any = None
) -> AttributeEffects:
    """Project values of rows linearly on attributes of their texts.

    With pseudo-outcomes as the values, E[xi | x] = E[Y(x)], so that the coefficients are those of the best linear
    projection of the dose response (Semenova and Chernozhukov 2021): attributes adjusted for who read what. With the
    outcomes themselves they are the naive comparison of the logged responses.

    Parameters
    ----------
    attributes:
        Numeric, shape [n, k]; a row for each row of data.
    values:
        Pseudo-outcomes or outcomes, shape [n], outcome units.
    weight:
        Exposure of each row, shape [n], or None for ones.
    cluster:
        None, labels [n], or a tuple of two arrays of labels (two-way), as in the estimators.

    Raises
    ------
    DataError
        If the arrays are not finite or differ in length.

    Notes
    -----
    Standard errors are the delete-one-cluster jackknife, with each regression without a cluster solved exactly. The
    degrees of freedom are those of the clusters' shares of an attribute's variation given the others, so that an
    attribute which few texts have gets the wide interval that it deserves.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from causalopt.diagnostics.attributes import attribute_effects
    >>> attributes = pd.DataFrame({"brave": [0, 1, 0, 1, 0, 1], "short": [0, 0, 1, 1, 1, 0], "text": [1] * 6})
    >>> found = attribute_effects(attributes, 2.0 + 3.0 * attributes["brave"] - attributes["short"])
    >>> {name: round(effect.value, 6) for name, effect in found.effects.items()}
    {'brave': 3.0, 'short': -1.0}
    >>> found.left_out
    {'text': 'is the same in all rows'}
    """
    y = as_vector("values", values)
    if len(attributes) != len(y):
        raise DataError(f"attributes have {len(attributes)} rows, values {len(y)}: they must be the same rows")
    exposure = as_exposure(weight, len(y))
    ways = cluster_codes(cluster, len(y)) or (np.arange(len(y)),)
    columns, left_out = _independent(attributes, exposure, ways)
    x = np.column_stack([np.ones(len(y)), *columns.values()])
    share = exposure / exposure.sum()
    gram = x.T @ (share[:, None] * x)
    coefficient = np.linalg.solve(gram, x.T @ (share * y))
    score = (share * (y - x @ coefficient))[:, None] * x
    influence = len(y) * score @ np.linalg.inv(gram)
    own = _own_variation(x, gram, share)
    all_ways = (*ways, pair_codes(*ways)) if len(ways) == 2 else ways
    changes = [_changes(x, share, score, gram, codes) for codes in all_ways]
    effects = {}
    for j, name in enumerate(columns, start=1):
        deletions = []
        for change, codes in zip(changes, all_ways, strict=True):
            nothing, part = np.zeros(len(change)), cluster_sums(own[:, j], codes)
            deletions.append(Deletions(nothing, change[:, j], nothing, part))
        effects[name] = Estimate(
            float(coefficient[j]),
            influence[:, j],
            ways if cluster is not None else (),
            estimator="projection",
            deletions=tuple(deletions),
        )
    return AttributeEffects(effects, left_out)


def _independent(
    attributes: pd.DataFrame, exposure: Float64, ways: tuple[Int64, ...]
) -> tuple[dict[str, Float64], dict[str, str]]:
    """Centred columns with an effect of their own, also without any one cluster; and why the others have none."""
    kept: dict[str, Float64] = {}
    left_out: dict[str, str] = {}
    share = exposure / exposure.sum()
    root = np.sqrt(share)
    for name in map(str, attributes.columns):
        values = as_vector(name, attributes[name])
        column = root * (values - share @ values)
        if column @ column <= _SINGULAR**2 * max(1.0, float(np.abs(values).max())) ** 2:
            left_out[name] = "is the same in all rows"
            continue
        column = column / np.sqrt(column @ column)
        others = np.column_stack([root, *(root * one for one in kept.values())])
        rest = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
        if rest @ rest <= _SINGULAR:
            left_out[name] = "follows from the other attributes"
        else:
            kept[name] = values - share @ values
    while kept and (single := _single(kept, share, ways)) is not None:
        del kept[single]
        left_out[single] = "rests on a single unit, without which nothing is left of it"
    return kept, left_out


def _single(kept: Mapping[str, Float64], share: Float64, ways: tuple[Int64, ...]) -> str | None:
    """Name of an attribute that is not identified without one of the clusters; None if all are."""
    columns = np.column_stack(list(kept.values()))
    x = np.column_stack([np.ones(len(columns)), columns / np.sqrt(share @ columns**2)])
    for codes in ways:
        for gram in _grams_without(x, share, codes):
            sizes, directions = np.linalg.eigh(gram)
            worst = int(sizes[:, 0].argmin())
            if sizes[worst, 0] <= _SINGULAR:
                return list(kept)[int(np.abs(directions[worst, 1:, 0]).argmax())]
    return None


def _grams_without(x: Float64, share: Float64, codes: Int64) -> Iterator[Float64]:
    """X'WX without each cluster, [chunk, k, k], a chunk of clusters at a time."""
    weighted = share[:, None] * x
    total = x.T @ weighted
    clusters = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    chunk = max(1, _HELD // x.shape[1] ** 2)
    for first in range(0, len(clusters), chunk):
        yield total - np.stack([x[rows].T @ weighted[rows] for rows in clusters[first : first + chunk]])


def _changes(x: Float64, share: Float64, score: Float64, gram: Float64, codes: Int64) -> Float64:
    """Change of the coefficients when each cluster is left out, shape [G, k]: (S - S_g)^-1 (-sum of its scores)."""
    sums = cluster_sums(score, codes)
    parts, first = [], 0
    for without in _grams_without(x, share, codes):
        parts.append(-np.linalg.solve(without, sums[first : first + len(without), :, None])[..., 0])
        first += len(without)
    return np.concatenate(parts)


def _own_variation(x: Float64, gram: Float64, share: Float64) -> Float64:
    """Share of each row in the variation of each column given the others, shape [n, k]."""
    # By Frisch, Waugh and Lovell: column j of X S^-1 is proportional to the residual of column j given the others.
    rest = x @ np.linalg.inv(gram)
    size = share[:, None] * rest**2
    return np.asarray(size / size.sum(axis=0))
