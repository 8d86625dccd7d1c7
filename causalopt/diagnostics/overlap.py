"""Overlap: how much information the logged texts carry about a policy."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from causalopt.arrays import as_log_ratio
from causalopt.doors import check_number, check_type
from causalopt.errors import DataError, OverlapWarning
from causalopt.estimators.cluster import cluster_codes, cluster_sums
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.ipw import clipped_mass, ionides_log_clip
from causalopt.estimators.weights import LARGEST_LOG, WeightedRows
from causalopt.typing import Float64, Int64

FACTOR, ERRORS = 2.0, 4.0
"""Factor by which the mean ratio may differ from one, and by how many standard errors."""


@dataclass(frozen=True)
class Overlap:
    """Evidence of overlap between the logged texts and a policy, counted in the units that were drawn.

    Attributes
    ----------
    n:
        Logged rows.
    unit:
        The unit counted: "texts", "prompts", "readers", "groups", "clusters", or "rows" if nothing repeats. With
        two-way clusters, the one with the smaller effective number.
    clusters:
        Number of units.
    ess:
        Kish's effective number of units, ``(sum_g a_g)^2 / sum_g a_g^2``, with a_g the sum of exposure times ratio over
        the rows of unit g. Balancing weights of both signs leave fewer units than their sizes alone: what they weight
        positively and negatively cancels in the sum, and not in the variance.
    ess_fraction:
        ``ess / clusters``.
    ess_rows:
        The same number, counted in rows.
    max_weight_share:
        Size of the largest unit's weight, as a share of the sum of all weights; above one where weights cancel.
    pareto_k:
        Shape of the generalized Pareto distribution of the largest units' weights (the larger one with two-way
        clusters). Below 0.5 their variance exists; up to 0.7 the estimate is usable; above 1 even their mean does not
        exist (Vehtari, Simpson, Gelman, Yao and Gabry 2024). Infinite if fewer than five weights stand out, so that
        the shape cannot be estimated.
    truncated_mass:
        Share of the sum of the weights' sizes in rows above sqrt(n) times their mean, which `clipped_ipw` would cut.
    unbalanced:
        Share of what distinguishes the policies that balancing weights leave out, lest they extrapolate, see
        `causalopt.nuisance.riesz.BalancingWeights`; 0 if nothing is left out, and for other weights.
    """

    n: int
    unit: str
    clusters: int
    ess: float
    ess_fraction: float
    ess_rows: float
    max_weight_share: float
    pareto_k: float
    truncated_mass: float
    unbalanced: float = 0.0

    def to_dict(self) -> dict[str, float | int | str | None]:
        """Return plain values for JSON; an infinite ``pareto_k`` becomes None."""
        numbers: dict[str, float | int | str | None] = asdict(self)
        if not math.isfinite(self.pareto_k):
            numbers["pareto_k"] = None
        return numbers


def overlap(
    log_ratio: Any,
    weight: Any = None,
    cluster: Any = None,
    unit: str | tuple[str, ...] | None = None,
    sign: Any = None,
) -> Overlap:
    """Measure overlap from log-ratios.

    Parameters
    ----------
    log_ratio:
        log P^f(x_i|c_i) - log q(x_i|c_i), shape [n], nats; -inf is a ratio of zero. To include the assignment, add
        log s_i.
    weight:
        Exposure of each row, shape [n], or None for ones.
    cluster:
        None, labels [n] of the unit that was drawn, or a tuple of two arrays of labels (two-way).
    unit:
        Name of a cluster in messages: one name, or one for each clustering; see `DirectOutcomeDataset.units`.
    sign:
        Sign of each row's weight, shape [n], if ``log_ratio`` is the log of the size of weights of both signs; None if
        all are positive.

    Raises
    ------
    DataError
        On invalid arrays, or weights whose sum is not positive.
    OverlapError
        If no logged text has a positive ratio.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import overlap
    >>> report = overlap(np.log([2.0, 1.0, 0.5, 0.5]) + 700.0)
    >>> round(report.ess, 3), round(report.max_weight_share, 3)
    (2.909, 0.5)
    >>> report = overlap(np.log([2.0, 2.0, 1.0, 1.0]), cluster=["a", "a", "b", "b"], unit="texts")
    >>> round(report.ess, 3), report.clusters, report.unit, round(report.ess_rows, 3)
    (1.8, 2, 'texts', 3.6)
    >>> round(overlap(np.log([3.0, 3.0, 2.0]), sign=np.array([1.0, 1.0, -1.0])).ess, 3)  # 4^2 / 22
    0.727
    """
    rows = WeightedRows.of(log_ratio, weight)
    ways = cluster_codes(cluster, rows.n) or (None,)
    if unit is None:
        unit = "rows" if ways[0] is None else "clusters"
    check_type("unit", unit, (str, tuple), "the name of what the clusters are, or a tuple of names")
    names = (unit,) * len(ways) if isinstance(unit, str) else unit
    if len(names) != len(ways):
        raise DataError(f"unit names {len(names)} kinds of clusters, of which there are {len(ways)}")
    signs = np.ones(rows.n) if sign is None else rows.column("sign", sign)
    found = [(_unit_weights(rows, codes, signs), name) for codes, name in zip(ways, names, strict=True)]
    if not found[0][0].sum() > 0:
        raise DataError("the sum of the weights is not positive: they are not those of a mean")
    units, name = min(found, key=lambda way: _effective_number(way[0]))
    size = _effective_number(units)
    return Overlap(
        n=rows.n,
        unit=name,
        clusters=len(units),
        ess=size,
        ess_fraction=size / len(units),
        ess_rows=_effective_number(_unit_weights(rows, None, signs)),
        max_weight_share=float(np.abs(units).max() / units.sum()),
        pareto_k=max(pareto_k(_log_size(weights)) for weights, _ in found),
        truncated_mass=clipped_mass(rows, ionides_log_clip(rows)),
    )


def _unit_weights(rows: WeightedRows, codes: Int64 | None, sign: Float64) -> Float64:
    """Sum of exposure times ratio in each cluster, shape [G], or of each row, up to a positive factor."""
    weights = np.exp(rows.log_weight - rows.log_weight.max()) * sign
    return weights if codes is None else cluster_sums(weights, codes)


def _effective_number(weights: Float64) -> float:
    weights = weights / np.abs(weights).max()  # so that no square vanishes
    return float(weights.sum() ** 2 / np.sum(weights**2))


def _log_size(weights: Float64) -> Float64:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.abs(weights)), dtype=np.float64)


def warn_if_mean_ratio_is_not_one(log_ratio: Any, *, weight: Any = None, cluster: Any = None) -> None:
    """Compare the mean ratio with one, its value if both log-probabilities are correct: E[P^f / q] = 1 under q.

    The mean is the share of the policy's texts that could have been logged; self-normalised estimators divide by it,
    and carry no information about the rest.

    Warns
    -----
    OverlapWarning
        With the mean, if it is below a half or above two by more than four standard errors.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.diagnostics.overlap import warn_if_mean_ratio_is_not_one
    >>> warn_if_mean_ratio_is_not_one(np.log([2.0, 1.0, 0.5, 0.5]))
    """
    rows = WeightedRows.of(log_ratio, weight)
    top = float(rows.log_ratio.max())
    scaled = rows.exposure * np.exp(rows.log_ratio - top)
    error = Estimate(0.0, scaled - scaled.mean(), cluster_codes(cluster, rows.n)).se / scaled.mean()
    log_mean = top + float(np.log(scaled.mean()))
    too_small = log_mean + np.log1p(ERRORS * error) < -np.log(FACTOR)
    too_large = ERRORS * error < 1 and log_mean + np.log1p(-ERRORS * error) > np.log(FACTOR)
    if too_small or too_large:
        mean = f"{np.exp(log_mean):.2g}" if abs(log_mean) < LARGEST_LOG else f"exp({log_mean:.0f})"
        warnings.warn(
            f"the ratios of the policy's to the logged probabilities have mean {mean} but should have mean 1: the "
            "policy writes mostly texts that were never logged, or the log-probabilities are not both of whole texts, "
            "in nats",
            OverlapWarning,
            stacklevel=3,
        )


def truncated_mass(log_ratio: Any, clip: float, weight: Any = None) -> float:
    """Share of the sum of weights that is removed by cutting the ratio at ``clip``, between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import truncated_mass
    >>> round(truncated_mass(np.log([2.0, 1.0, 1.0, 1.0]), clip=1.5), 6)
    0.1
    """
    check_number("clip", clip, above=0)
    return clipped_mass(WeightedRows.of(log_ratio, weight), math.log(clip))


def pareto_k(log_weight: Any) -> float:
    """Shape parameter of a generalized Pareto distribution fitted to the largest weights.

    Parameters
    ----------
    log_weight:
        Shape [n], nats; a constant shift does not change the result.

    Returns
    -------
    float
        k of the ``min(n / 5, 3 sqrt(n))`` largest weights (at least five), fitted by Zhang and Stephens (2009) and
        shrunk towards 0.5 as by ten observations, as in Pareto-smoothed importance sampling (Vehtari et al. 2024).
        0 if the largest weights are all equal (bounded: there is no tail); inf if there are five rows or fewer, no
        weight is positive, or fewer than five weights exceed the rest by a difference that a float can hold.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import pareto_k
    >>> uniform = np.random.default_rng(0).uniform(size=4000)
    >>> round(pareto_k(-0.5 * np.log(uniform)), 1)  # a Pareto law of shape 0.5
    0.5
    """
    log_weight = as_log_ratio("log_weight", log_weight)
    n = len(log_weight)
    if n <= 5 or log_weight.max() == -np.inf:
        return math.inf
    size = max(5, min(math.ceil(0.2 * n), math.ceil(3 * math.sqrt(n))))
    ordered = np.sort(np.asarray(log_weight, dtype=np.float64))
    tail = np.exp(ordered[-size:] - ordered[-1])
    cutoff = math.exp(ordered[-size - 1] - ordered[-1])
    if tail[0] == 1.0:
        return 0.0
    exceedance = tail - cutoff
    exceedance = exceedance[exceedance > np.finfo(np.float64).tiny]
    if len(exceedance) < 5:
        return math.inf
    k = _generalized_pareto_shape(exceedance)
    return float((k * len(exceedance) + 0.5 * 10) / (len(exceedance) + 10))


def _generalized_pareto_shape(ordered: Float64) -> float:
    """Posterior mean of the shape by Zhang and Stephens (2009), from positive values in ascending order."""
    n = len(ordered)
    points = 30 + int(math.sqrt(n))
    quartile = ordered[int(n / 4 + 0.5) - 1]
    index = np.arange(1, points + 1)
    b = 1 / ordered[-1] + (1 - np.sqrt(points / (index - 0.5))) / (3 * quartile)
    k = np.log1p(-b[:, None] * ordered).mean(axis=1)
    log_likelihood = n * (np.log(-b / k) - k - 1)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    mean_b = float(np.sum(b * posterior) / posterior.sum())
    return float(np.log1p(-mean_b * ordered).mean())
