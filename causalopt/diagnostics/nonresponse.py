"""Sensitivity to who responds: how far those who do not respond would have to differ to change the conclusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from causalopt.arrays import LARGEST, as_log_ratio, as_vector
from causalopt.diagnostics.sensitivity import Bounds, riesz_representer
from causalopt.doors import check_number, check_type
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.ipw import snipw
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import WeightedRows, centered, weighted_mean
from causalopt.typing import Float64

GRID = (-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0)
"""Values of delta in the table, in standard deviations of the outcome."""
FARTHEST = 100.0
"""Standard deviations of the outcome up to which a tipping point is searched."""


@dataclass(frozen=True, eq=False)
class Nonresponse:
    """What a difference of two values becomes if those who respond are unlike those who do not.

    The estimate takes it that, given prompt, text and covariates, whether a reader responds does not depend on the
    response. Let the mean of those who do not respond be lower by delta instead (a pattern-mixture model),

        E[Y | c, x, w, not observed] = E[Y | c, x, w, observed] - delta.

    Then V(f) is lower by delta U_f, with U_f the mean of 1 - pi(c, x, w) over the policy's texts and their readers, and
    the difference of two policies by delta (U_f - U_f0): little, unless one policy's texts move readers to respond. If
    delta may differ between readers and texts, with |delta(c, x, w)| <= delta, the difference changes by at most delta
    times the mean of |rho - rho_0| s (1 - pi).

    Attributes
    ----------
    estimate:
        The difference, under delta = 0.
    unobserved:
        U_f and U_f0.
    shift:
        U_f - U_f0, an estimate on the same rows.
    worst:
        The mean of |rho - rho_0| s (1 - pi), likewise.
    spread:
        Standard deviation of the observed outcomes, the unit of ``delta_sd`` in the table.

    Notes
    -----
    Rubin (1977); Little (1993), "Pattern-mixture models for multivariate incomplete data"; the delta adjustment that
    the National Research Council (2010) recommends for trials with missing outcomes.
    """

    estimate: Estimate
    unobserved: tuple[float, float]
    shift: Estimate
    worst: Estimate
    spread: float

    def at(self, delta: float) -> Estimate:
        """Return the difference if the mean of those who do not respond is lower by ``delta``, outcome units."""
        check_number("delta", delta)
        return self.estimate - self.shift * delta

    def bounds(self, delta: float, *, level: float = 0.95) -> Bounds:
        """Bound the difference for any |delta(c, x, w)| of at most ``delta``, outcome units."""
        check_number("delta", delta)
        low, high = self.estimate - self.worst * abs(delta), self.estimate + self.worst * abs(delta)
        return Bounds(low.value, high.value, low.confint(level)[0], high.confint(level)[1], level)

    def tipping_point(self, *, level: float = 0.95) -> float | None:
        """Find the delta closest to zero, with its sign, at which the interval of the difference contains zero.

        0 if it does already; None if no delta within 100 standard deviations of the outcome suffices. Outcome units.
        """
        up = self._first(lambda size: self.at(size).confint(level))
        down = self._first(lambda size: self.at(-size).confint(level))
        sides = [*([] if up is None else [up]), *([] if down is None else [-down])]
        return min(sides, key=abs) if sides else None

    def worst_tipping_point(self, *, level: float = 0.95) -> float | None:
        """Find the smallest delta whose `bounds`, with their confidence limits, contain zero; as `tipping_point`."""

        def limits(size: float) -> tuple[float, float]:
            bounds = self.bounds(size, level=level)
            return bounds.ci_low, bounds.ci_high

        return self._first(limits)

    def _first(self, limits: Callable[[float], tuple[float, float]]) -> float | None:
        """Return the smallest size at which the limits contain zero, from a bracket that doubles."""

        def gap(size: float) -> float:
            low, high = limits(size)
            return low if self.estimate.value >= 0 else -high

        if gap(0.0) <= 0:
            return 0.0
        near, far = 0.0, 0.01 * self.spread
        while gap(far) > 0:
            near, far = far, 2 * far
            if near >= FARTHEST * self.spread:
                return None
        return float(brentq(gap, near, far, xtol=1e-12 * self.spread))

    def to_frame(self, *, level: float = 0.95) -> pd.DataFrame:
        """Return one row for each delta: ``delta``, ``delta_sd``, estimate and interval, and the worst case.

        The worst case is for any |delta(c, x, w)| of at most |delta|, with confidence limits; outcome units.
        """
        rows = []
        for size in GRID:
            shifted, bounds = self.at(size * self.spread), self.bounds(size * self.spread, level=level)
            low, high = shifted.confint(level)
            rows.append(
                {
                    "delta": size * self.spread,
                    "delta_sd": size,
                    "estimate": shifted.value,
                    "ci_low": low,
                    "ci_high": high,
                    "worst_ci_low": bounds.ci_low,
                    "worst_ci_high": bounds.ci_high,
                }
            )
        return pd.DataFrame(rows)


def nonresponse(
    estimate: Estimate,
    log_ratio: Any,
    log_ratio_reference: Any,
    s: Any,
    pi: Any,
    *,
    spread: float,
    weight: Any = None,
    cluster: Any = None,
) -> Nonresponse:
    """Prepare the sensitivity of a difference to who responds.

    Parameters
    ----------
    estimate:
        The difference of the two policies, on the rows of the other arrays.
    log_ratio, log_ratio_reference:
        Log-ratios of the two policies to the logged texts, shape [n], nats, of all rows that were shown.
    s, pi:
        Stabilized weight and probability of a response of each row, shape [n].
    spread:
        Standard deviation of the observed outcomes.
    weight, cluster:
        As in `causalopt.evaluation.ipw`.

    Raises
    ------
    DataError, OverlapError
        On invalid arrays, or if the logged texts carry no information about a policy.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import nonresponse, snipw
    >>> rng = np.random.default_rng(0)
    >>> ratio, none = rng.normal(-0.02, 0.2, size=400), np.zeros(400)
    >>> difference = snipw(ratio, 8 * ratio + rng.normal(size=400)) - snipw(none, 8 * ratio + rng.normal(size=400))
    >>> found = nonresponse(difference, ratio, none, np.ones(400), 0.5 - 0.2 * (ratio > 0), spread=1.0)
    >>> bool(found.shift.value > 0), bool(found.worst.value > found.shift.value)
    (True, True)
    >>> bool(0 < found.worst_tipping_point() < found.tipping_point())
    True
    """
    s = as_vector("s", s)
    n = len(s)
    pi = as_vector("pi", pi, n)
    if not ((s > 0).all() and (pi > 0).all() and (pi <= 1).all()):
        raise DataError("s must be positive, and pi above 0 and at most 1")
    check_type("estimate", estimate, (Estimate,), "an Estimate of the difference of two policies")
    check_number("spread, the standard deviation of the outcome,", spread, above=0, below=LARGEST)
    if estimate.n != n:
        raise DataError(f"the estimate rests on {estimate.n} rows, s on {n}: they must be the same rows")
    rest: dict[str, Any] = {"weight": weight, "cluster": cluster}
    # Readers keep their own covariates: s makes the readers of a text resemble all readers.
    named = {"log_ratio": log_ratio, "log_ratio_reference": log_ratio_reference}
    ratios = [as_log_ratio(name, one, n) + np.log(s) for name, one in named.items()]
    of_policy, of_reference = (snipw(ratio, 1 - pi, **rest) for ratio in ratios)
    apart = riesz_representer(ratios[0], np.ones(n), log_ratio_reference=ratios[1], self_normalize=True, weight=weight)
    worst = _mean(np.abs(apart) * (1 - pi), WeightedRows.of(ratios[0], weight).exposure, cluster)
    return Nonresponse(estimate, (of_policy.value, of_reference.value), of_policy - of_reference, worst, spread)


def _mean(values: Float64, exposure: Float64, cluster: Any) -> Estimate:
    codes = cluster_codes(cluster, len(values))
    influence = centered(values, exposure)
    deletions = deletions_of_mean(influence, exposure / len(values), codes)
    return Estimate(weighted_mean(values, exposure), influence, codes, estimator="worst", deletions=deletions)
