"""The direct method: the dose response g averaged over the texts of a policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from causalopt.arrays import as_exposure, as_matrix, as_vector, shape_of
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import mean_over_readers
from causalopt.typing import Float64, Int64


@dataclass(frozen=True, eq=False)
class ContextDraws:
    """Draws from a policy in the contexts (prompts) of some of the n logged rows.

    Attributes
    ----------
    g:
        Dose response of each draw, shape [m], outcome units.
    row:
        Position of the row in whose context each was drawn, shape [m].
    n:
        Number of rows.
    weight:
        Factor on each draw's share of its row's exposure, shape [m], with the same mean in every row; it may be
        negative. None for ones.
    """

    g: Float64
    row: Int64
    n: int
    weight: Float64 | None = None


@dataclass(frozen=True, eq=False)
class WeightedDraws:
    """Draws from several policies, weighted to one (importance sampling, self-normalised).

    Attributes
    ----------
    g:
        Dose response of each draw, shape [m], outcome units.
    weight:
        Shape [m], not negative.
    sample:
        Name of the sample. Means of one sample under the weights of two policies subtract draw by draw.
    """

    g: Float64
    weight: Float64
    sample: str


@dataclass(frozen=True, eq=False)
class PlugIn:
    """Mean of g over a policy, outcome units, with its Monte Carlo error.

    ``g_policy`` has one of five forms:

    * [m]: g at m independent draws from the policy; their variance over m is part of the value's variance.
    * [n, k]: k draws in the context (prompt) of each of the n logged rows. The mean over k is then one more term of
      the row, and its variance between rows includes that of the draws and that of the contexts.
    * `ContextDraws`: the same if only some rows, chosen at random, have draws. Each draw is weighted by its row's
      exposure, and its part of the error is attributed to the row.
    * `WeightedDraws`: independent draws from other policies, whose weighted mean estimates this one's.
    * a single number: the mean is known exactly (a finite policy summed over its texts), and adds no error.

    Attributes
    ----------
    value:
        Outcome units.
    influence:
        Influence of each row, [n], for draws in the contexts of rows; else None.
    leverage:
        The row's share of the mean, [n], if there is an influence.
    draws:
        Influence of each draw, under a key derived from the draws' content, for the shape [m]; else empty.
    """

    value: float
    influence: Float64 | None = None
    leverage: Float64 | None = None
    draws: Mapping[str, Float64] = field(default_factory=dict)

    @classmethod
    def of(cls, g_policy: Any, exposure: Float64 | None) -> PlugIn:
        """Read ``g_policy``; ``exposure`` is [n] with mean one, or None if the rows are unknown."""
        if isinstance(g_policy, ContextDraws):
            return cls._in_context(g_policy, exposure)
        if isinstance(g_policy, WeightedDraws):
            return cls._weighted(g_policy)
        shape = shape_of("g_policy", g_policy)
        if len(shape) == 0:
            return cls(float(as_vector("g_policy", [g_policy])[0]))
        if len(shape) == 1:
            g = as_vector("g_policy", g_policy)
            if len(g) < 2:
                raise DataError(
                    f"g_policy holds {len(g)} draws: their Monte Carlo error needs two "
                    "(pass a mean that is known exactly as a number)"
                )
            value = float(g.mean())
            key = hashlib.sha256(np.ascontiguousarray(g).tobytes()).hexdigest()
            return cls(value, draws={key: g - value})
        n = shape[0] if exposure is None else len(exposure)
        per_row = as_matrix("g_policy", g_policy, n)
        return cls._in_context(ContextDraws(per_row.ravel(), np.repeat(np.arange(n), per_row.shape[1]), n), exposure)

    @classmethod
    def _in_context(cls, drawn: ContextDraws, exposure: Float64 | None) -> PlugIn:
        g = as_vector("g_policy", drawn.g)
        if len(g) < 2:
            raise DataError(f"g_policy holds {len(g)} draws: their Monte Carlo error needs two")
        share = np.ones(len(g)) if exposure is None else exposure[drawn.row]
        share = share if drawn.weight is None else share * as_vector("weight of g_policy", drawn.weight, len(g))
        share = share / share.sum()
        value = float(share @ g)
        influence, leverage = np.zeros(drawn.n), np.zeros(drawn.n)
        np.add.at(influence, drawn.row, drawn.n * share * (g - value))
        np.add.at(leverage, drawn.row, share)
        return cls(value, influence, leverage)

    @classmethod
    def _weighted(cls, drawn: WeightedDraws) -> PlugIn:
        g = as_vector("g_policy", drawn.g)
        weight = as_vector("weight of g_policy", drawn.weight, len(g))
        if len(g) < 2 or np.any(weight < 0) or not weight.sum() > 0:
            raise DataError("g_policy holds weighted draws: it needs two or more, and weights that are not negative")
        share = weight / weight.sum()
        value = float(share @ g)
        return cls(value, draws={drawn.sample: len(g) * share * (g - value)})

    def estimate(self, cluster: tuple[Int64, ...]) -> Estimate:
        """Return the mean as an estimate, based on the rows if they are the contexts."""
        if self.influence is None or self.leverage is None:
            return Estimate(self.value, np.zeros(0), (), self.draws)
        deletions = deletions_of_mean(self.influence, self.leverage, cluster)
        return Estimate(self.value, self.influence, cluster, self.draws, deletions=deletions)


def rows_of(g_policy: Any) -> int:
    """Return the number of rows in whose contexts ``g_policy`` was drawn; 0 if it does not belong to rows."""
    if isinstance(g_policy, ContextDraws):
        return g_policy.n
    shape = shape_of("g_policy", g_policy)
    return shape[0] if len(shape) == 2 else 0


def dm(g_policy: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Direct method: ``mean_j g(x~_j)`` over texts drawn from the policy.

    Its standard error includes the Monte Carlo variance of the draws, and the sampling variance of the readers if
    ``reader_response`` is given, but never the error of the outcome model: if that model is wrong, the interval does
    not cover.

    Parameters
    ----------
    g_policy:
        Dose response at m draws from the policy, shape [m], outcome units; or [n, k], k draws in the context of each
        of n rows; or one number, if the mean is known exactly.
    reader_response:
        Shape [n] or None: h_i, the outcome model of reader i averaged over the policy's texts (see `ipw`).
    weight, cluster:
        Exposures and clusters of the n rows, as in `ipw`; used if rows enter the estimate (``reader_response``, or
        ``g_policy`` of shape [n, k]).

    Returns
    -------
    Estimate
        Without row influence if ``g_policy`` is [m] and there is no ``reader_response``.

    Raises
    ------
    DataError
        On arrays that are not finite or of different lengths, or on a single draw.

    Examples
    --------
    >>> from causalopt.evaluation import dm
    >>> estimate = dm([1.0, 2.0, 3.0])
    >>> estimate.value, round(estimate.se, 4)
    (2.0, 0.5774)
    """
    response = None if reader_response is None else as_vector("reader_response", reader_response)
    n = rows_of(g_policy) if response is None else len(response)
    if not n:
        return replace(PlugIn.of(g_policy, None).estimate(()), estimator="dm")
    if n < 2:
        raise DataError(f"reader_response has {n} rows: an estimate needs at least two")
    exposure, codes = as_exposure(weight, n), cluster_codes(cluster, n)
    found = PlugIn.of(g_policy, exposure).estimate(codes)
    if response is not None:
        found = found + mean_over_readers(response, exposure, codes)
    return replace(found, estimator="dm")
