"""Whether the later rows are like the earlier ones: who reads, what is asked, what is written, how it is received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from causalopt.arrays import as_codes, as_exposure, as_matrix, as_vector
from causalopt.data.folds import row_codes
from causalopt.density_ratio import TwoSamples
from causalopt.diagnostics.behavior_fit import BehaviorFit, separation
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.typing import Array, Float64, Int64

FOLDS = 5
NOTEWORTHY = 0.2
"""Trend, in standard deviations of the outcome, above which an outcome is said to drift if its interval excludes zero.

It is what Cohen (1988) calls a small difference; a trend below it is not, however small its standard error."""


class Part(NamedTuple):
    """One part of the rows: coordinates [n, d], and the code [n] of the unit (text, prompt, reader) of each row."""

    x: Array
    unit: Int64


@dataclass(frozen=True)
class Drift:
    """Differences between the earlier and the later half of the rows.

    Attributes
    ----------
    parts:
        By part ("texts", "prompts", "readers"): how well a classifier tells the later half from the earlier one, with
        the same judgements as for the fit of q. A part with too few units is absent.
    outcome, residual:
        Change of the mean outcome, and of the mean of outcome minus prediction, from the first to the last row along a
        line, outcome units.
    scale:
        Standard deviation of the outcome.
    level:
        Level of the intervals.
    """

    parts: Mapping[str, BehaviorFit]
    outcome: Estimate
    residual: Estimate
    scale: float
    level: float

    @property
    def drifting(self) -> tuple[str, ...]:
        """Names of what drifts: parts whose area is not good and excludes chance, and trends that are noteworthy."""
        parts = [name for name, fit in self.parts.items() if fit.judgement in ("questionable", "bad")]
        trends = {"the outcome": self.outcome, "the outcome given what was read and by whom": self.residual}
        return (*parts, *(name for name, trend in trends.items() if self._is_noteworthy(trend)))

    @property
    def sentence(self) -> str:
        """The comparison in words, one sentence."""
        areas = ", ".join(
            f"{name} {fit.auc:.2f} ({fit.auc_low:.2f} to {fit.auc_high:.2f})" for name, fit in self.parts.items()
        )
        compared = f"classifiers tell later from earlier rows with areas under the curve of: {areas}; " if areas else ""
        found = " and ".join(self.drifting)
        claim = (
            f"The logs drift in {found}, so that values, which are means over the logged period, need not hold after it"
            if found
            else "Later rows are like earlier ones"
        )
        return (
            f"{claim}: {compared}from the first row to the last the outcome moves by {self._words(self.outcome)}, and "
            f"by {self._words(self.residual)} given what was read and by whom."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, with the sentence."""
        areas = {
            name: {"auc": fit.auc, "auc_low": fit.auc_low, "auc_high": fit.auc_high, "judgement": fit.judgement}
            for name, fit in self.parts.items()
        }
        trends = {}
        for name, trend in (("outcome", self.outcome), ("residual", self.residual)):
            low, high = trend.confint(self.level)
            trends[name] = {"estimate": float(trend.value), "se": trend.se, "ci_low": low, "ci_high": high}
        return {"parts": areas, **trends, "drifting": list(self.drifting), "sentence": self.sentence}

    def _is_noteworthy(self, trend: Estimate) -> bool:
        low, high = trend.confint(self.level)
        return abs(trend.value) > NOTEWORTHY * self.scale and not low <= 0 <= high

    def _words(self, trend: Estimate) -> str:
        low, high = trend.confint(self.level)
        return f"{trend.value:+.3g} ({low:+.3g} to {high:+.3g})"


def drift(
    time: Any,
    outcome: Any,
    residual: Any,
    parts: Mapping[str, Part],
    *,
    weight: Any = None,
    cluster: Any = None,
    observed: Any = None,
    seed: int = 0,
    level: float = 0.95,
) -> Drift:
    """Compare the later half of the rows with the earlier one, and fit a line in time to the outcome.

    Each part is judged by the area under the curve of a cross-fitted classifier (see
    `causalopt.diagnostics.behavior_fit.behavior_fit`), by its size and not by a p-value: with many rows every
    difference is significant. All rows of a unit share a fold. A unit that occurs in both halves counts in both.

    Parameters
    ----------
    time:
        Shape [n], in any unit.
    outcome, residual:
        Outcome, and outcome minus the prediction of a model that was not fitted on the row, shape [n], outcome units.
    parts:
        Parts of the rows by name. One with fewer than ten units in a half is left out.
    weight:
        Exposure of each row, shape [n], or None for ones.
    cluster:
        Clusters of the trends' standard errors, as in `causalopt.evaluation.dr`.
    observed:
        Whether each row has an outcome, shape [n], or None if all have; the trends are those of these rows.
    seed:
        Seed of the folds.
    level:
        Level of the intervals.

    Raises
    ------
    DataError
        On invalid arrays, or if all rows are of one time.

    Notes
    -----
    The trend is b (t_last - t_first) with b the weighted least-squares slope, whose influence on row i is proportional
    to a_i (t_i - mean t) e_i; its standard error is the jackknife of these, by cluster.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.drift import drift
    >>> rng = np.random.default_rng(0)
    >>> time = np.arange(400.0)
    >>> found = drift(time, 0.005 * time + rng.normal(size=400), rng.normal(size=400), {})
    >>> found.drifting
    ('the outcome',)
    """
    if not 0 < level < 1:
        raise DataError(f"level must lie between 0 and 1, not {level}")
    time = as_vector("time", time)
    n = len(time)
    rated = np.ones(n, dtype=bool) if observed is None else np.asarray(observed, dtype=bool)
    outcome, residual = (
        as_vector(name, np.asarray(values)[rated], int(rated.sum()))
        for name, values in (("outcome", outcome), ("residual", residual))
    )
    exposure, codes = as_exposure(weight, n), cluster_codes(cluster, n)
    if np.ptp(time) == 0:
        raise DataError("all rows are of one time: there is nothing to compare")
    later = time >= np.sort(time)[n // 2]
    if later.all():  # more than half of the rows are of the first time
        later = time > time.min()
    areas = {}
    for name, part in parts.items():
        x, unit = as_matrix(f"parts[{name!r}].x", part.x, n), as_codes(f"parts[{name!r}].unit", part.unit, n)
        if x.shape[1] == 0 or min(len(np.unique(unit[half])) for half in (later, ~later)) < 2 * FOLDS:
            continue
        areas[name] = _separation(x, later, exposure, unit, seed, level)
    time, exposure = time[rated], as_exposure(exposure[rated], len(outcome))
    codes = cluster_codes(
        tuple(one[rated] for one in codes) if len(codes) == 2 else codes[0][rated] if codes else None, len(time)
    )
    mean = float(np.average(outcome, weights=exposure))
    scale = float(np.sqrt(np.average((outcome - mean) ** 2, weights=exposure)))
    return Drift(areas, _trend(time, outcome, exposure, codes), _trend(time, residual, exposure, codes), scale, level)


def _separation(x: Float64, later: Array, exposure: Float64, unit: Int64, seed: int, level: float) -> BehaviorFit:
    order = np.argsort(later, kind="stable")  # earlier rows first
    label = later[order].astype(np.int64)
    total = np.bincount(label, weights=exposure[order])
    fold = np.empty(len(x), dtype=np.int64)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(folds.split(x[order], label, unit[order])):
        fold[held_out] = k
    weight = exposure[order] * (total[0] / total)[label]
    sample = TwoSamples(x[order], label, weight, fold, row_codes(x[order]))
    return separation(sample, unit[order], level)


def _trend(time: Float64, values: Float64, exposure: Float64, codes: tuple[Int64, ...]) -> Estimate:
    """Change along the least-squares line from the first to the last time."""
    t = (time - time.min()) / np.ptp(time)
    t = t - np.average(t, weights=exposure)
    spread = float(exposure @ t**2)
    slope = float(exposure @ (t * values)) / spread
    error = values - np.average(values, weights=exposure) - slope * t
    return Estimate(slope, len(t) * exposure * t * error / spread, codes, estimator="trend")
