"""What an attribute of the texts does to the response: adjusted for confounding, beside the naive association."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import as_exposure, as_matrix, as_outcome, as_vector
from causalopt.doors import check_number, check_type
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes, cluster_sums, pair_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import NOTHING_LEFT, Deletions
from causalopt.typing import Array, Float64, Int64

HELD = 2_000_000
"""Numbers that the regressions without each cluster hold in memory at once."""
COLUMNS = ("estimate", "se", "ci_low", "ci_high")
CONSTANT = "does not vary among these texts"
DEPENDENT = "is a linear combination of the other attributes"
ONE_UNIT = "varies only together with a single unit of the sample"


def attribute_effects(
    attributes: pd.DataFrame,
    xi: Float64,
    outcome: Float64,
    *,
    weight: Float64 | None = None,
    cluster: Any = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Coefficients of the best linear predictor of E[Y(x)] by attributes of the text, and those of the outcome.

    Since E[xi | x] = E[Y(x)], least squares of xi on attributes estimates the projection of the dose response on them
    (Semenova and Chernozhukov 2021, "Debiased machine learning of conditional average treatment effects", section 2).
    Least squares of y on the same attributes is the naive association, in which readers who were shown other texts are
    compared. A coefficient is the difference in the mean response between texts that differ by one in the attribute and
    are alike in the others; texts also differ in what no attribute codes.

    Parameters
    ----------
    attributes:
        Attributes of each row's text, [n, k], finite numbers.
    xi, outcome:
        Pseudo-outcomes and outcomes, shape [n], outcome units; an outcome that is nan was not observed, and takes no
        part in the naive association.
    weight:
        Exposure, shape [n]; ones by default.
    cluster:
        Codes of one clustering, shape [n], or a pair of them; rows by default.
    level:
        Level of each interval.

    Returns
    -------
    pandas.DataFrame
        A row for each attribute: ``attribute``; ``adjusted_`` and ``naive_`` ``estimate``, ``se``, ``ci_low`` and
        ``ci_high``, outcome units per unit of the attribute; ``reason``, why there are none (None if there are).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from causalopt.diagnostics.attribute_effects import attribute_effects
    >>> polite = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    >>> y = np.array([3.0, 4.0, 1.0, 2.0, 5.0, 3.0])
    >>> found = attribute_effects(pd.DataFrame({"polite": polite}), xi=y, outcome=y)
    >>> found["adjusted_estimate"].round(3).tolist(), found["reason"].tolist()
    ([2.0], [None])
    """
    check_type("attributes", attributes, (pd.DataFrame,), "a DataFrame with a column of numbers for each attribute")
    check_number("level", level, above=0, below=1)
    xi = as_vector("xi", xi, len(attributes))
    exposure = as_exposure(weight, len(xi))
    codes = cluster_codes(cluster, len(xi))
    outcome = as_outcome("outcome", outcome, len(xi))
    rated = ~np.isnan(outcome)
    if not (exposure * rated).any():
        raise DataError("outcome is missing in every row that counts: there is nothing to regress")
    values = as_matrix("attributes", attributes, len(xi))
    adjusted, reasons = _regressions(values, xi, exposure, codes)
    naive, _ = _regressions(values, np.where(rated, outcome, 0.0), exposure * rated, codes)
    records = []
    for j, name in enumerate(attributes.columns):
        record: dict[str, Any] = {"attribute": str(name)}
        for kind, found in (("adjusted", adjusted), ("naive", naive)):
            shown = (float("nan"),) * 4
            if j in found:
                shown = (found[j].value, found[j].se, *found[j].confint(level))
            record |= {f"{kind}_{column}": value for column, value in zip(COLUMNS, shown, strict=True)}
        records.append({**record, "reason": reasons.get(j)})
    frame = pd.DataFrame(records)
    return frame.assign(reason=pd.Series([record["reason"] for record in records], dtype=object))


def _regressions(
    values: Float64, y: Float64, weight: Float64, codes: tuple[Int64, ...]
) -> tuple[dict[int, Estimate], dict[int, str]]:
    """Coefficients of those attributes that have one, by position, and why the others have none."""
    kept, reasons = _independent(values, weight)
    while kept:
        x = np.column_stack([np.ones(len(y)), values[:, kept]])
        gram = x.T @ (weight[:, None] * x)
        # Without a cluster nothing may be left of a direction: of the attribute with the largest part in it.
        lone = _carried_by_one(x, weight, gram, codes)
        if lone is None:
            break
        reasons[kept.pop(lone)] = ONE_UNIT
    if not kept:
        return {}, reasons
    # Row i moves coefficient j by c_ij e_i, with c = w x A^-1.
    pull = weight[:, None] * np.linalg.solve(gram, x.T).T
    coefficient = pull.T @ y
    residual = y - x @ coefficient
    deleted = [_deleted(x, weight, residual, gram, pull, way) for way in _ways(codes, len(y))]
    return {
        position: Estimate(
            float(coefficient[j]),
            len(y) * pull[:, j] * residual,
            codes,
            estimator="least squares",
            deletions=tuple(of_way[j] for of_way in deleted),
        )
        for j, position in enumerate(kept, start=1)
    }, reasons


def _independent(values: Float64, weight: Float64) -> tuple[list[int], dict[int, str]]:
    """Attributes that vary and are no combination of those before them, and why the others are left out."""
    kept: list[int] = []
    reasons: dict[int, str] = {}
    root = np.sqrt(weight)
    basis = (root / np.linalg.norm(root))[:, None]
    for j, column in enumerate((root[:, None] * values).T):
        size = np.linalg.norm(column)
        rest = column - basis[:, 0] * (basis[:, 0] @ column)
        if np.linalg.norm(rest) <= 1e-8 * size:
            reasons[j] = CONSTANT
            continue
        own = rest - basis @ (basis.T @ rest)
        if np.linalg.norm(own) <= 1e-8 * np.linalg.norm(rest):
            reasons[j] = DEPENDENT
            continue
        kept.append(j)
        basis = np.column_stack([basis, own / np.linalg.norm(own)])
    return kept, reasons


def _carried_by_one(x: Float64, weight: Float64, gram: Float64, codes: tuple[Int64, ...]) -> int | None:
    """Position of an attribute whose variation is that of one cluster; None if there is none."""
    scale = np.sqrt(np.diag(gram))
    for way in _ways(codes, len(x))[: max(1, len(codes))]:
        for without in _grams_without(x, weight, gram, way):
            size, direction = np.linalg.eigh(without / np.outer(scale, scale))
            worst = int(size[:, 0].argmin())
            if size[worst, 0] <= NOTHING_LEFT:
                return int(np.argmax(np.abs(direction[worst, 1:, 0])))
    return None


def _grams_without(x: Float64, weight: Float64, gram: Float64, way: Int64) -> Iterator[Float64]:
    """x' w x without each cluster, [chunk, k, k], as many clusters at a time as fit into memory."""
    rows = np.split(np.argsort(way, kind="stable"), np.cumsum(np.bincount(way))[:-1])
    chunk = max(1, HELD // x.shape[1] ** 2)
    for first in range(0, len(rows), chunk):
        own = [x[part].T @ (weight[part, None] * x[part]) for part in rows[first : first + chunk]]
        yield gram - np.stack(own)


def _deleted(
    x: Float64, weight: Float64, residual: Float64, gram: Float64, pull: Float64, way: Int64
) -> list[Deletions]:
    """Change of each coefficient without each cluster, -(A - A_g)^-1 X_g' w_g e_g, exact; the constant comes first."""
    groups = int(way.max()) + 1
    score = cluster_sums((weight * residual)[:, None] * x, way)
    parts, first = [], 0
    for without in _grams_without(x, weight, gram, way):
        parts.append(-np.linalg.solve(without, score[first : first + len(without), :, None])[..., 0])
        first += len(without)
    change, nothing = np.concatenate(parts), np.zeros(groups)
    # Share of the cluster in the coefficient's variance, for errors that are independent and alike.
    share = np.sqrt(cluster_sums(pull**2, way))
    return [Deletions(change[:, j], nothing, share[:, j], nothing) for j in range(x.shape[1])]


def _ways(codes: tuple[Array, ...], n: int) -> list[Int64]:
    if not codes:
        return [np.arange(n)]
    if len(codes) == 1:
        return [codes[0]]
    return [*codes, pair_codes(*codes)]
