"""What rows can show: the smallest gain of a policy that a test would find, and the rows that a test needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from causalopt.errors import DataError
from causalopt.typing import Float64, Int64


def chi_square_of_tilt(kl: float) -> float:
    """Return chi-square(f || f0) = E[(rho - 1)^2] of a tilted policy, from its KL(f || f0), nats.

    For f proportional to f0 exp(t z) with z standard normal under f0, rho = exp(t z - t^2 / 2), so that KL = t^2 / 2
    and E[rho^2] = exp(t^2) = exp(2 KL). Tilting by the dose response is the policy of largest value at its KL
    (Donsker and Varadhan 1975); that z is normal is an approximation, better where many features add up to z. The
    effective share of the units is 1 / E[rho^2] = exp(-2 KL): 61% at 0.25 nats.

    Examples
    --------
    >>> from causalopt.diagnostics.power import chi_square_of_tilt
    >>> round(chi_square_of_tilt(0.25), 3)
    0.649
    """
    if not kl > 0 or not math.isfinite(kl):
        raise DataError(f"kl must be above 0 nats and finite, not {kl:g}")
    return math.expm1(2 * kl)


def detectable(se: float, *, power: float = 0.8, level: float = 0.95, df: float = math.inf) -> float:
    """Return the smallest difference that a two-sided test at ``1 - level`` finds with probability ``power``.

    ``(t_(1 - (1 - level) / 2) + t_power) se``, with quantiles of Student's t: 2.8 standard errors for 80% power and a
    95% interval (Bloom 1995, minimum detectable effects).

    Examples
    --------
    >>> from causalopt.diagnostics.power import detectable
    >>> round(detectable(1.0), 3), round(detectable(1.0, df=20), 3)
    (2.802, 2.946)
    """
    return float((stats.t.ppf((1 + level) / 2, df) + stats.t.ppf(power, df)) * se)


def arm_size(difference: float, variance: float, *, power: float = 0.8, level: float = 0.95) -> int | None:
    """Return the number of independent readings that each of two arms needs to show a difference of means.

    ``2 variance (z_(1 - (1 - level) / 2) + z_power)^2 / difference^2``, rounded up (Cohen 1988); None for a difference
    of zero, which no number shows.

    Parameters
    ----------
    difference:
        Of the two means, outcome units.
    variance:
        Of the outcome within an arm.
    power, level:
        Probability of finding the difference, and level of the interval.

    Examples
    --------
    >>> from causalopt.diagnostics.power import arm_size
    >>> arm_size(0.5, 1.0), arm_size(0.0, 1.0)
    (63, None)
    """
    if difference == 0:
        return None
    z = detectable(1.0, power=power, level=level)
    return max(2, math.ceil(2 * variance * (z / difference) ** 2))


@dataclass(frozen=True)
class Power:
    """What test rows can show of a policy at some distance from its reference.

    Attributes
    ----------
    kl:
        KL(policy || reference), nats.
    se:
        Standard error of the difference between the two, outcome units.
    units:
        Number of distinct texts (given their prompts) among the test rows.
    kept:
        Share of the rows that is left where readers are made comparable across texts, 1 / E[s^2].
    attainable:
        sd(g) sqrt(2 KL): the gain of the tilt by g, by an outcome model that has seen some rows alone; outcome units.
    level, chance:
        Level of the interval, and the power, of `smallest_gain`.
    """

    kl: float
    se: float
    units: float
    kept: float
    attainable: float
    level: float = 0.95
    chance: float = 0.8

    @property
    def smallest_gain(self) -> float:
        """The smallest gain that is found with probability ``chance``, outcome units."""
        return detectable(self.se, power=self.chance, level=self.level, df=max(1.0, self.effective_units - 1))

    @property
    def effective_units(self) -> float:
        """Number of units that count for such a policy: ``units kept exp(-2 KL)``."""
        return self.units * self.kept * math.exp(-2 * self.kl)

    def at(self, factor: float) -> Power:
        """Return the power with ``factor`` times as many rows, of as many more texts."""
        return replace(self, se=self.se / math.sqrt(factor), units=self.units * factor)


def power_of(
    error: Float64,
    text: Int64,
    g: Float64,
    *,
    kl: float = 0.25,
    kept: float = 1.0,
    rows: float | None = None,
    draws: float = math.inf,
    weight: Float64 | None = None,
    level: float = 0.95,
    chance: float = 0.8,
) -> Power:
    """Predict the standard error of a policy's gain before there is a policy.

    The difference of two policies is estimated by a plug-in and the mean of ``(rho_i - 1) r_i``, with r the residual
    ``s (y - m)`` and rho the ratio of policy and reference (Dudik, Langford and Li 2011). The reference writes as the
    logs do, so that rho - 1 has mean zero over texts and variance chi-square(f || f0). What the policy favours is taken
    and s are taken to be unrelated to the size of the errors y - m; then, with E_x the sum of the errors of a text's
    rows and ``kept`` = 1 / E[s^2] (Kish's effective share of the rows),

        variance = chi-square(f || f0) / kept * sum_x E_x^2 / n^2 + 2 var(g) / draws.

    (The sum of (s e)^2 has the same mean, and is noisier: on 600 rows with weights up to 20 it gave up to 1.6 times the
    standard error that a run reported, the above 0.9 to 1.2 times.) Rows of one text share its ratio, hence the sum
    over a text before the square: what the outcome model does not know of a text counts once a text and not once a row.
    Rows of different texts have unrelated ratios, whatever prompt or reader they share, and their products vanish in
    the mean. The second term is the Monte Carlo error of the plug-in of two policies that write texts.

    Parameters
    ----------
    error:
        y - m of n rows, from models that were fitted on other rows, outcome units.
    text:
        Code of each row's text (given its prompt), shape [n]; where texts are fixed, of the row.
    g:
        Dose response of each row's text, shape [n], outcome units.
    kl:
        Distance of the policy from its reference, nats.
    kept:
        Effective share of the rows under the stabilized weights; 1 if texts were randomised.
    rows:
        Number of rows to predict for; the n given rows by default.
    draws:
        Number of texts drawn from each policy; infinite for policies whose plug-in is summed.
    weight:
        Exposure of each row, shape [n]; ones by default.
    level, chance:
        Level of the interval, and power.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.power import power_of
    >>> rng = np.random.default_rng(0)
    >>> found = power_of(rng.standard_normal(1000), np.arange(1000), np.zeros(1000))
    >>> round(found.se, 3), round(found.smallest_gain, 2)  # sqrt(0.649 / 1000) = 0.025
    (0.025, 0.07)
    """
    n = len(error)
    if n == 0:
        raise DataError("there are no rows whose power could be told")
    weight = np.ones(n) if weight is None else weight / weight.mean()
    codes, text = np.unique(text, return_inverse=True)
    share = 1.0 if rows is None else n / rows
    sums = np.bincount(text, weights=weight * error)
    spread = float(np.average((g - np.average(g, weights=weight)) ** 2, weights=weight))
    variance = chi_square_of_tilt(kl) / kept * float(sums @ sums) / n**2 * share + 2 * spread / draws
    return Power(kl, math.sqrt(variance), len(codes) / share, kept, math.sqrt(2 * kl * spread), level, chance)
