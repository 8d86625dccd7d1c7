"""Sensitivity analysis: how strong an unobserved confounder would have to be to change the conclusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from causalopt.arrays import as_exposure, as_vector
from causalopt.doors import check_number, check_type
from causalopt.errors import ConfigError, DataError
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import WeightedRows, centered, weighted_mean
from causalopt.signatures import shown
from causalopt.typing import Float64

STRENGTHS = {
    "1% of each": (0.01, 0.01),
    "5% of each": (0.05, 0.05),
    "10% of each": (0.1, 0.1),
    "as in benchmarks/coverage": (0.08, 0.7),
}
"""Strengths cf_y and cf_d at which bounds are reported beside those of the covariates.

The last are medians, over 36 policies of 12 laws, for the covariate that is hidden in the coverage benchmark: a strong
determinant of who reads what."""


@dataclass(frozen=True)
class Bounds:
    """Bounds of the estimand under confounding of a given strength, outcome units.

    ``low`` and ``high`` bound the limit of the point estimate; ``ci_low`` and ``ci_high`` are their outer confidence
    limits at ``level``, each as in a two-sided interval, so that at strength zero they equal `Estimate.confint`.
    """

    low: float
    high: float
    ci_low: float
    ci_high: float
    level: float


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Omitted-variable bounds of a value or of a difference.

    Attributes
    ----------
    estimate:
        The doubly robust estimate, with its row influence.
    sigma2:
        E[(y - m)^2], squared outcome units.
    nu2:
        E[alpha^2] of the Riesz representer.
    max_bias:
        S = sqrt(sigma2 * nu2), outcome units, with its own row influence.

    Notes
    -----
    An unobserved confounder biases the estimate by at most ``|rho| * S * sqrt(cf_y * cf_d / (1 - cf_d))``, where
    ``cf_y`` is the share of the outcome's residual variance that it explains, ``cf_d`` the share by which it raises
    the variance of the Riesz representer (1 - E[alpha^2] / E[alpha_long^2]: its contribution to the assignment of
    texts), and ``rho`` the correlation of the two errors, 1 in the worst case. Chernozhukov, Cinelli, Newey, Sharma
    and Syrgkanis, "Long story short: omitted variable bias in causal machine learning".
    """

    estimate: Estimate
    sigma2: float
    nu2: float
    max_bias: Estimate

    def bounds(self, cf_y: float, cf_d: float, *, rho: float = 1.0, level: float = 0.95) -> Bounds:
        """Bound the estimand under a confounder of strengths ``cf_y`` in [0, 1] and ``cf_d`` in [0, 1).

        Raises
        ------
        ConfigError
            If a strength is out of its range.
        """
        check_number("cf_y", cf_y, least=0, most=1)
        check_number("cf_d", cf_d, least=0, below=1)
        check_number("rho", rho, least=-1, most=1)
        # |bias| <= |rho| sqrt(sigma^2 nu^2) sqrt(C_Y^2 C_D^2), with C_Y^2 = cf_y and C_D^2 = cf_d / (1 - cf_d).
        bias = self.max_bias * (abs(rho) * math.sqrt(cf_y * cf_d / (1 - cf_d)))
        low, high = self.estimate - bias, self.estimate + bias
        return Bounds(low.value, high.value, low.confint(level)[0], high.confint(level)[1], level)

    def robustness_value(self, null: float = 0.0, *, level: float | None = None, rho: float = 1.0) -> float:
        """Find the strength ``cf_y = cf_d`` at which the estimate could equal ``null``, between 0 and 1.

        With ``level``, the strength at which the confidence limit reaches ``null``: 0 if the interval already contains
        it, 1 if no strength below 1 suffices (there is no residual variance).
        """
        check_number("null", null)
        check_number("rho", rho, least=-1, most=1)
        if rho == 0:
            raise ConfigError("rho must not be 0: such a confounder does no harm")
        distance = abs(self.estimate.value - null)
        if level is None:
            if self.max_bias.value == 0:
                return 0.0 if distance == 0 else 1.0
            # The root in [0, 1] of r^2 / (1 - r) = size^2.
            size = distance / (abs(rho) * self.max_bias.value)
            return 2 / (1 + math.hypot(1, 2 / size)) if size > 0 else 0.0
        below = null <= self.estimate.value

        def gap(strength: float) -> float:
            bounds = self.bounds(strength, strength, rho=rho, level=level)
            return bounds.ci_low - null if below else null - bounds.ci_high

        largest = 1 - 1e-12
        if gap(0.0) <= 0:
            return 0.0
        return float(brentq(gap, 0.0, largest, xtol=1e-12)) if gap(largest) < 0 else 1.0

    def at_strengths(
        self, strengths: Mapping[str, tuple[float, float]], *, level: float = 0.95
    ) -> list[dict[str, float | str]]:
        """Bounds under confounders of several strengths, as records.

        Parameters
        ----------
        strengths:
            Pairs of ``cf_y`` and ``cf_d``, see `bounds`, by name.
        level:
            Level of the outer confidence limits.

        Returns
        -------
        list of dict
            ``confounder``, ``outcome_share``, ``assignment_share``, and ``low``, ``high``, ``ci_low``, ``ci_high`` in
            outcome units: the estimand lies between them if the confounder is at least as weak.

        Examples
        --------
        >>> import numpy as np
        >>> from causalopt.evaluation import Estimate, sensitivity
        >>> found = sensitivity(Estimate(1.0, np.zeros(2)), [1.0, -1.0], [1.0, -1.0])
        >>> row = found.at_strengths({"as strong as age": (0.5, 0.5)})[0]
        >>> round(row["low"], 6), round(row["high"], 6)  # 1 -+ sqrt(0.5 * 0.5 / (1 - 0.5))
        (0.292893, 1.707107)
        """
        rows: list[dict[str, float | str]] = []
        check_type("strengths", strengths, (Mapping,), "a mapping from a name to a pair of cf_y and cf_d")
        for name, pair in strengths.items():
            if not (isinstance(pair, Sequence) and len(pair) == 2):
                raise DataError(f"strengths: {name!r} must have a pair of cf_y and cf_d, not {shown(pair)}")
            outcome, assignment = pair
            found = asdict(self.bounds(outcome, assignment, level=level))
            del found["level"]
            rows.append({"confounder": name, "outcome_share": outcome, "assignment_share": assignment, **found})
        return rows

    def summary(self, level: float = 0.95, null: float = 0.0) -> str:
        """Describe in a sentence how strong a hidden confounder would have to be."""
        check_number("level", level, above=0, below=1)
        point, limit = self.robustness_value(null), self.robustness_value(null, level=level)
        return (
            f"A hidden confounder that explained {100 * point:.1f}% of the residual variation of both the outcome and "
            f"the assignment of texts could move the estimate to {null:g}; {100 * limit:.1f}% would suffice for its "
            f"{100 * level:g}% interval to hold {null:g}."
        )


def sensitivity(
    estimate: Estimate, residual: Any, alpha: Any, *, alpha_moment: Any = None, weight: Any = None
) -> Sensitivity:
    """Prepare the omitted-variable bounds of a doubly robust estimate.

    Parameters
    ----------
    estimate:
        From `dr` or `sndr` (or a difference of two), on the rows of the other arrays.
    residual:
        y_i - m(x_i, w_i), not multiplied by s, shape [n], outcome units.
    alpha:
        Riesz representer of each row, from `riesz_representer`, shape [n].
    alpha_moment:
        The estimand's moment of alpha, shape [n] or None: alpha averaged over the policy's texts for reader i (for a
        difference of two policies, the difference of those averages). With it, nu2 is mean(2 * alpha_moment - alpha^2),
        which is insensitive to errors of alpha to first order; without it, mean(alpha^2).
    weight:
        Exposure of each row, shape [n], or None for ones.

    Raises
    ------
    DataError
        On invalid arrays, an estimate that is not based on rows, or nu2 that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import dr, riesz_representer, sensitivity
    >>> rng = np.random.default_rng(0)
    >>> log_ratio, residual = rng.normal(-0.02, 0.2, size=500), rng.normal(size=500)
    >>> estimate = dr(log_ratio, 1 + residual, np.ones(500), 1.0)
    >>> result = sensitivity(estimate, residual, riesz_representer(log_ratio, np.ones(500)))
    >>> bounds = result.bounds(0.05, 0.05)
    >>> bounds.low < estimate.value < bounds.high
    True
    >>> 0 < result.robustness_value(level=0.95) < result.robustness_value() < 1
    True
    """
    check_type("estimate", estimate, (Estimate,), "an Estimate")
    residual = as_vector("residual", residual)
    n = len(residual)
    if estimate.n != n:
        raise DataError(f"the estimate rests on {estimate.n} rows, residual on {n}: they must be the same rows")
    exposure = as_exposure(weight, n)
    alpha = as_vector("alpha", alpha, n)
    square = alpha**2 if alpha_moment is None else 2 * as_vector("alpha_moment", alpha_moment, n) - alpha**2
    sigma2, nu2 = weighted_mean(residual**2, exposure), weighted_mean(square, exposure)
    if not nu2 > 0:
        raise DataError(
            f"the mean squared Riesz representer came out at {nu2:g}: it must be positive (leave out alpha_moment, or "
            "check that the policy gives some logged text a positive ratio)"
        )
    size = math.sqrt(sigma2 * nu2)
    influence = np.zeros(n)
    if size > 0:
        # The derivative of sqrt(sigma^2 nu^2) with respect to each of its two means.
        influence = (sigma2 * centered(square, exposure) + nu2 * centered(residual**2, exposure)) / (2 * size)
    deletions = deletions_of_mean(influence, exposure / n, estimate.cluster)
    max_bias = Estimate(size, influence, estimate.cluster, estimator="max_bias", deletions=deletions)
    return Sensitivity(estimate, sigma2, nu2, max_bias)


def riesz_representer(
    log_ratio: Any, s: Any, *, log_ratio_reference: Any = None, self_normalize: bool = False, weight: Any = None
) -> Float64:
    """Riesz representer of V(f), ``alpha_i = rho_i * s_i``, or of V(f) - V(f0), ``(rho_i - rho0_i) * s_i``.

    Parameters
    ----------
    log_ratio, log_ratio_reference:
        Log-ratios of the policy, and of the policy it is compared with (or None), shape [n], nats.
    s:
        Stabilized weight of each row, shape [n].
    self_normalize:
        Divide each policy's ratios by their weighted mean, as `sndr` does.
    weight:
        Exposure of each row, shape [n], or None for ones.

    Raises
    ------
    DataError, OverlapError
        As in `dr`.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import riesz_representer
    >>> riesz_representer(np.log([2.0, 0.5]), [1.0, 1.0], log_ratio_reference=[0.0, 0.0]).tolist()
    [1.0, -0.5]
    """
    check_type("self_normalize", self_normalize, (bool, np.bool_), "true or false")
    rows = WeightedRows.of(log_ratio, weight)
    s = rows.column("s", s)
    ratio = rows.normalized_ratio() if self_normalize else rows.ratio()
    if log_ratio_reference is not None:
        reference = WeightedRows.of(log_ratio_reference, weight)
        if reference.n != rows.n:
            raise DataError(f"log_ratio_reference has {reference.n} rows, where the other arrays have {rows.n}")
        ratio = ratio - (reference.normalized_ratio() if self_normalize else reference.ratio())
    return np.asarray(ratio * s, dtype=np.float64)


@dataclass(frozen=True)
class Benchmark:
    """Strength of an observed covariate, as if it had been left out.

    Attributes
    ----------
    outcome_share, assignment_share:
        Its strength in the sense of `Sensitivity.bounds`, as a hidden confounder of the estimate without it: the share
        of that estimate's residual variance that it explains, and the share of E[alpha^2] with it that it accounts
        for. Compare these with a robustness value.
    cf_y, cf_d:
        The gain statistics of DoubleML, which divide the same gains by the other denominators: the residual variance
        with it, and E[alpha^2] without it. cf_d = assignment_share / (1 - assignment_share).
    rho:
        Degree of adversity, signed. If nothing was truncated, the short estimate's `Sensitivity.bounds` at both shares
        and this rho end at the long estimate.
    change:
        The estimate without the covariate minus the one with it, outcome units.
    """

    outcome_share: float
    assignment_share: float
    cf_y: float
    cf_d: float
    rho: float
    change: float


def benchmark(long: Sensitivity, short: Sensitivity) -> Benchmark:
    """Measure how strong some observed covariates are as confounders, to judge how strong a hidden one might be.

    Parameters
    ----------
    long:
        From nuisances that used all covariates.
    short:
        For the same rows and estimand, from nuisances fitted without the covariates in question.

    Notes
    -----
    The strengths and gain statistics are those of "Long story short"; all are truncated to [0, 1], since with noise a
    covariate can seem to make the fit worse.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import Estimate, benchmark, sensitivity
    >>> one = Estimate(1.0, np.zeros(4))
    >>> long = sensitivity(one, [1.0, -1.0, 1.0, -1.0], [1.0, 2.0, 1.0, 2.0])
    >>> short = sensitivity(one * 1.5, [1.5, -1.0, 1.0, -1.0], [1.0, 1.5, 1.0, 2.0])
    >>> found = benchmark(long, short)
    >>> round(found.outcome_share, 4), round(found.assignment_share, 4), found.change
    (0.2381, 0.175, 0.5)
    >>> round(found.cf_y, 4), round(found.cf_d, 4)
    (0.3125, 0.2121)
    """
    for name, one in (("long", long), ("short", short)):
        check_type(name, one, (Sensitivity,), "what `sensitivity` returns")
    outcome_gain = short.sigma2 - long.sigma2
    riesz_gain = long.nu2 - short.nu2
    change = short.estimate.value - long.estimate.value
    size = math.sqrt(outcome_gain * riesz_gain) if outcome_gain > 0 and riesz_gain > 0 else 0.0
    adversity = 1.0 if size == 0 else min(1.0, abs(change) / size)
    return Benchmark(
        outcome_share=max(outcome_gain / short.sigma2, 0.0) if short.sigma2 > 0 else 0.0,
        assignment_share=max(riesz_gain / long.nu2, 0.0),
        cf_y=float(np.clip(outcome_gain / long.sigma2, 0, 1)) if long.sigma2 > 0 else float(outcome_gain > 0),
        cf_d=float(np.clip(riesz_gain / short.nu2, 0, 1)),
        rho=float(np.sign(change)) * adversity,
        change=change,
    )
