"""Transport of a calibration: whether calibrated scores of a judge are right for the texts of another policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalopt.arrays import as_vector
from causalopt.doors import check_number, check_seed
from causalopt.errors import DataError, OverlapError
from causalopt.estimators.balance import balance
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.simultaneous import simultaneous
from causalopt.typing import Array, Float64, Int64

GRIDS = ((3, 2), (2, 2), (2, 1), (1, 1))
"""Numbers of strata by score and by length; the first is used whose strata all have enough clusters."""
FEWEST = 10
"""Smallest number of clusters with an outcome in a stratum."""


@dataclass(frozen=True, eq=False)
class Transport:
    """Errors of a calibration among the texts of a policy.

    Attributes
    ----------
    table:
        A row for all texts and one for each stratum: ``stratum``, ``score_low``, ``score_high``, ``length_low``,
        ``length_high``, ``rows`` (with an outcome), ``weight`` (share of the policy's texts, estimated), ``error``
        (what the stratum adds to the value, outcome units: its weight times the mean of xi - f(s) there), ``ci_low``,
        ``ci_high`` (simultaneous) and ``p_value`` (adjusted).
    p_value:
        Of the hypothesis that all of these errors are zero.
    level:
        Joint level of the intervals.
    """

    table: pd.DataFrame
    p_value: float
    level: float

    @property
    def sentence(self) -> str:
        """Describe the result in words."""
        found = self.table.iloc[int(self.table["p_value"].to_numpy().argmin())]
        if self.p_value >= 1 - self.level:
            return (
                f"No error of the calibration among the policy's texts was found (p = {self.p_value:.2g}, "
                f"{len(self.table) - 1} strata); the interval does not rely on there being none."
            )
        return (
            f"The calibration does not carry over to the policy's texts (p = {self.p_value:.2g}): {found['stratum']} "
            f"it errs by {found['error']:+.3g}. The outcomes correct this on average over all texts; do not use the "
            "calibrated scores without that correction, or for single texts."
        )


def transport(
    alpha: Any,
    residual: Any,
    score: Any,
    length: Any,
    *,
    observed: Any = None,
    weight: Any = None,
    cluster: Any = None,
    level: float = 0.95,
    seed: int = 0,
) -> Transport:
    """Test within strata of score and length that the weighted mean of xi - f(s) is zero.

    Parameters
    ----------
    alpha, observed, weight, cluster:
        As in `causalopt.evaluation.calibrated_judge`.
    residual:
        xi - f(s), shape [n], outcome units, with f not fitted on the row.
    score, length:
        Score and length of each row's text, shape [n], in any units. Strata are made at quantiles of the rows that
        have an outcome: three by score and two by length, or fewer if these would have fewer than ten clusters.
    level:
        Joint level of the intervals.
    seed:
        Of the simulation of their critical value.

    Raises
    ------
    DataError
        On invalid arrays.

    Notes
    -----
    The calibration carries over if E[xi - f(s) | stratum] = 0 under the policy, in every stratum. The sum over strata
    is the correction of the estimate, which is tested with them: p-values are adjusted for all (`simultaneous`). That f
    was estimated from other rows is not part of the errors of the test. Few outcomes leave it little power.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import transport
    >>> rng = np.random.default_rng(0)
    >>> score, length = rng.normal(size=(2, 400))
    >>> found = transport(np.ones(400), 0.5 * (length > 0) + rng.normal(size=400), score, length)
    >>> found.table["stratum"].tolist()[:2], found.p_value < 0.001
    (['overall', 'score 1 of 3, length 1 of 2'], True)
    """
    check_number("level", level, above=0, below=1)
    check_seed("seed", seed)
    alpha = as_vector("alpha", alpha)
    n = len(alpha)
    if not alpha.sum() > 0:
        raise OverlapError("the sum of the weights alpha is not positive: they are not those of a mean")
    residual, score, length = (
        as_vector(name, values, n) for name, values in (("residual", residual), ("score", score), ("length", length))
    )
    rated = np.ones(n, dtype=bool) if observed is None else as_vector("observed", observed, n) == 1
    if not rated.any():
        raise DataError("no row has an outcome that was observed")
    ways = cluster_codes(cluster, n)
    unit = ways[0] if ways else np.arange(n)
    of_score, of_length, names = _strata(score, length, rated, unit)
    code = of_score * (int(of_length.max()) + 1) + of_length
    strata: list[tuple[str, Array]] = [("overall", np.ones(n, dtype=bool))]
    if len(names) > 1:
        strata += [(names[int(k)], code == k) for k in np.unique(code[rated])]
    rows, estimates = [], []
    for name, inside in strata:
        found = _error(np.where(inside, alpha, 0.0), residual, observed, weight, cluster)
        known = inside & rated
        estimates.append(found)
        rows.append(
            {
                "stratum": name,
                "score_low": score[known].min(),
                "score_high": score[known].max(),
                "length_low": length[known].min(),
                "length_high": length[known].max(),
                "rows": int(known.sum()),
                "weight": float(alpha[known].sum() / alpha.sum()),
                "error": found.value,
            }
        )
    joint = simultaneous(estimates, level, seed=seed)
    table = pd.DataFrame(rows).assign(ci_low=joint.low, ci_high=joint.high, p_value=joint.p_value)
    return Transport(table, joint.joint_p_value, level)


def _error(alpha: Float64, residual: Float64, observed: Any, weight: Any, cluster: Any) -> Estimate:
    return balance(alpha, residual, 0.0, observed=observed, weight=weight, cluster=cluster)


def _strata(score: Float64, length: Float64, rated: Array, unit: Int64) -> tuple[Int64, Int64, dict[int, str]]:
    """Codes of the strata by score and by length, shape [n], and the names of their pairs."""
    for by_score, by_length in GRIDS:
        codes = _parts(score, rated, by_score), _parts(length, rated, by_length)
        counts = [int(one.max()) + 1 for one in codes]
        pair = codes[0] * counts[1] + codes[1]
        clusters = [len(np.unique(unit[rated & (pair == k)])) for k in range(counts[0] * counts[1])]
        if min(clusters) >= FEWEST or (by_score, by_length) == GRIDS[-1]:
            break
    names = {}
    for k in range(counts[0] * counts[1]):
        parts = [
            f"{what} {place + 1} of {count}"
            for what, place, count in zip(("score", "length"), divmod(k, counts[1]), counts, strict=True)
            if count > 1
        ]
        names[k] = ", ".join(parts)
    return codes[0], codes[1], names


def _parts(values: Float64, rated: Array, count: int) -> Int64:
    """Codes of ``count`` parts at quantiles of the rated rows, shape [n]; fewer where values are equal."""
    edges = np.unique(np.quantile(values[rated], np.arange(1, count) / count))
    edges = edges[edges < values[rated].max()]
    return np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1].astype(np.int64)
