"""Placebo tests: estimates of an effect that is known to be zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats
from scipy.special import gammaln

from causalopt.arrays import as_codes, as_vector
from causalopt.doors import check_number, check_seed
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.weights import WeightedRows, ratio_estimate
from causalopt.progress import track
from causalopt.signatures import LARGEST_COUNT
from causalopt.typing import Float64, Int64


def placebo_outcome(
    log_ratio: Any, placebo: Any, *, s: Any = None, weight: Any = None, cluster: Any = None
) -> Estimate:
    """Estimate the policy's effect on a variable that no text can have affected; it should be zero.

    The placebo is any variable fixed before the text was read: an earlier response, or a covariate that was kept out
    of the assignment model. Its mean under the policy's weights, minus its plain mean, measures the confounding that
    remains after weighting by s.

    Parameters
    ----------
    log_ratio:
        log P^f(x_i|c_i) - log q(x_i|c_i), shape [n], nats.
    placebo:
        Shape [n], in its own units.
    s:
        Stabilized weight of each row, shape [n], or None for ones. Zero is allowed, negative is not.
    weight, cluster:
        As in `ipw`.

    Returns
    -------
    Estimate
        Weighted minus plain mean; ``test()`` gives the p-value of "this placebo shows no remaining confounding".

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import placebo_outcome
    >>> rng = np.random.default_rng(0)
    >>> estimate = placebo_outcome(rng.normal(0, 0.5, size=1000), rng.normal(size=1000))
    >>> estimate.test().p_value > 0.05
    True
    """
    rows = WeightedRows.of(log_ratio, weight)
    placebo = rows.column("placebo", placebo)
    combined = rows.log_ratio
    if s is not None:
        s = rows.column("s", s)
        if (s < 0).any():
            raise DataError(f"s[{int(np.argmax(s < 0))}] is negative: a stabilized weight is zero or more")
        with np.errstate(divide="ignore"):
            combined = combined + np.log(s)
    weighted = WeightedRows.of(combined, weight)
    weighted.warn_if_thin("placebo_outcome", cluster)
    return _weighted_minus_plain(weighted, placebo, cluster)


def _weighted_minus_plain(rows: WeightedRows, values: Float64, cluster: Any) -> Estimate:
    """Estimate the mean under self-normalised ratios minus the plain mean of the same rows."""
    everybody = WeightedRows(np.zeros(rows.n), rows.exposure)
    means = [
        ratio_estimate(
            one,
            one.normalized_ratio(),
            values,
            self_normalized=True,
            reader_response=None,
            cluster=cluster,
            estimator="placebo_outcome",
        )
        for one in (rows, everybody)
    ]
    return means[0] - means[1]


Permuted = Literal["texts", "readers", "rows"]


@dataclass(frozen=True, eq=False)
class PlaceboAssignment:
    """Permutation test: estimates with randomly reassigned texts, so that no text has an effect.

    Attributes
    ----------
    observed:
        Weighted minus plain mean with the real texts.
    placebo:
        The same with the texts permuted, shape [repeats], outcome units.
    p_value:
        Share of the permutations (including the real assignment) at least as far from the mean of all as
        ``observed``, each in its own clustered standard errors: a test of "no text affects anybody", see
        `placebo_assignment`.
    rejections:
        Share of the permutations whose 95% interval excludes zero; near 0.05 if the standard error is correct.
    permuted:
        The units that were permuted: whole texts, whole readers, or rows.
    """

    observed: Estimate
    placebo: Float64
    p_value: float
    rejections: float
    permuted: Permuted


def placebo_assignment(
    log_ratio: Any,
    xi: Any,
    *,
    unit: Any = None,
    reader: Any = None,
    weight: Any = None,
    cluster: Any = None,
    repeats: int = 500,
    seed: int = 0,
) -> PlaceboAssignment:
    """Permute the texts among the rows many times, and each time estimate an effect that cannot exist.

    Parameters
    ----------
    log_ratio:
        Shape [n], nats; these values are permuted.
    xi:
        Pseudo-outcome of each row, shape [n], outcome units; not permuted.
    unit:
        Labels [n] of texts, or None if all rows differ. The log-ratio must be constant within a unit.
    reader:
        Labels [n] of readers who may have several rows, or None for rows of different readers.
    weight, cluster:
        As in `ipw`.
    repeats, seed:
        Number of permutations, and the seed of their generator.

    Notes
    -----
    The permuted units are those that were assigned:

    * *texts* are exchanged with texts that have as many rows, if this gives at least ``repeats`` different
      permutations. (A text that was shown often differs from one that was shown seldom, in its log-ratio too.) The test
      is exact if each row drew its text at random, and if rows of a text share a shock, provided that units with as
      many rows are exchangeable before anybody reads.
    * else *readers*, if each was shown texts of one log-ratio: these are exchanged between readers. The test is exact
      if readers drew their text at random.
    * else *rows*, within each reader: exact if each row drew its text at random from the same distribution.

    Distances are in standard errors clustered by ``cluster``. A permutation that breaks up clusters (rows of a text
    that share a shock, readers who were shown texts of one kind) therefore does not by itself make the real assignment
    stand out: with many clusters the test is valid there too (Chung and Romano 2013). If texts were not randomised (s
    is not 1, or the distribution depends on a prompt), it is approximate at best: rows with the same s and prompt are
    exchangeable, others are not.

    Raises
    ------
    DataError
        If the log-ratio varies within a unit, or on invalid arrays.
    OverlapError
        If one cluster carries the whole weight.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import placebo_assignment
    >>> rng = np.random.default_rng(0)
    >>> log_ratio = rng.normal(0, 0.5, size=300)
    >>> check = placebo_assignment(log_ratio, log_ratio + rng.normal(size=300), repeats=99)
    >>> check.p_value
    0.01
    """
    rows = WeightedRows.of(log_ratio, weight)
    xi = as_vector("xi", xi, rows.n)
    check_number("repeats", repeats, least=1, most=LARGEST_COUNT, whole=True)
    check_seed("seed", seed)
    texts = np.arange(rows.n) if unit is None else as_codes("unit", unit, rows.n)
    if not _constant(rows.log_ratio, texts):
        row = int(np.argmax(rows.log_ratio[_first(texts)][texts] != rows.log_ratio))
        raise DataError(f"log_ratio[{row}] differs from another row of its unit: a text has one log-ratio")
    readers = np.arange(rows.n) if reader is None else as_codes("reader", reader, rows.n)
    permuted, codes, stratum = _what_is_permuted(rows.log_ratio, texts, readers, repeats)
    if permuted == "texts" and unit is None:
        permuted = "rows"
    values, ways = rows.log_ratio[_first(codes)], cluster_codes(cluster, rows.n)
    observed = _weighted_minus_plain(rows, xi, ways)
    rng = np.random.default_rng(seed)
    found = []  # numbers alone: an estimate holds the influence of every row
    for _ in track(range(repeats), "permuting texts", repeats):
        one = _weighted_minus_plain(WeightedRows.of(_traded(values, stratum, rng)[codes], weight), xi, ways)
        found.append((one.value, one.se, one.df))
    value, se, df = np.array([*found, (observed.value, observed.se, observed.df)]).T
    apart = value - value.mean()
    apart[np.abs(apart) <= 1e-12 * np.abs(value).max()] = 0.0  # rounding, if no permutation changes anything
    distance = _in_errors(apart, se)
    p_values = 2 * stats.t.sf(_in_errors(value, se), df)
    return PlaceboAssignment(
        observed=observed,
        placebo=value[:-1],
        p_value=float(np.mean(distance >= distance[-1] * (1 - 1e-12))),
        rejections=float(np.mean(p_values[:-1] < 0.05)),
        permuted=permuted,
    )


def _in_errors(value: Float64, se: Float64) -> Float64:
    """Absolute values in standard errors, shape [k]; without an error, zero stays zero and others become infinite."""
    infinite = np.where(value == 0, 0.0, np.inf)
    return np.divide(np.abs(value), se, out=infinite, where=se > 0)


def _what_is_permuted(log_ratio: Float64, texts: Int64, readers: Int64, repeats: int) -> tuple[Permuted, Int64, Int64]:
    """Return the name of the permuted units, their codes, shape [n], and the stratum within which each is permuted."""
    size = np.bincount(texts)
    alone = len(size) == len(texts)
    repeated = readers.max() + 1 < len(readers)
    if not (alone and repeated) and _can_trade(texts, repeats):
        return "texts", texts, size
    if repeated and _constant(log_ratio, readers):
        return "readers", readers, np.zeros(readers.max() + 1, dtype=np.int64)
    return "rows", np.arange(len(texts)), readers if repeated else np.zeros(len(texts), dtype=np.int64)


def _first(codes: Int64) -> Int64:
    """Position of the first row of each unit."""
    return np.asarray(np.unique(codes, return_index=True)[1], dtype=np.int64)


def _constant(values: Float64, codes: Int64) -> bool:
    return np.array_equal(values[_first(codes)][codes], values)


def _can_trade(codes: Int64, repeats: int) -> bool:
    """Whether exchanges of units of equal size affect half of the rows, in at least ``repeats`` different ways."""
    sizes, alike = np.unique(np.bincount(codes), return_counts=True)
    movable = sizes[alike > 1] @ alike[alike > 1]
    return bool(2 * movable >= len(codes) and gammaln(alike + 1).sum() >= np.log(repeats))


def _traded(values: Float64, stratum: Int64, rng: np.random.Generator) -> Float64:
    """Permute the values of the units at random within strata, shape [units]."""
    traded = np.empty_like(values)
    traded[np.argsort(stratum, kind="stable")] = values[np.lexsort((rng.random(len(stratum)), stratum))]
    return traded
