"""The direct method: the dose response averaged over the policy's texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from causalopt.arrays import as_exposure, as_vector
from causalopt.errors import DataError
from causalopt.estimators.cluster import cluster_codes
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.plug_in import PlugIn, rows_of
from causalopt.estimators.rows import mean_over_readers


def dm(g_policy: Any, *, reader_response: Any = None, weight: Any = None, cluster: Any = None) -> Estimate:
    """Direct method: ``mean_j g(x~_j)`` over texts drawn from the policy.

    Its error holds the Monte Carlo variance of the draws, and of the readers when ``reader_response`` is given, but
    never the error of the outcome model itself: where that model is wrong the interval does not cover.

    Parameters
    ----------
    g_policy:
        Dose response at m draws from the policy, shape [m], outcome units; or [n, k], k draws in the context of each
        of n rows; or one number, when the mean is known exactly.
    reader_response:
        Shape [n] or None: h_i, the outcome model of reader i averaged over the policy's texts (see `ipw`).
    weight, cluster:
        Of the n rows, as in `ipw`; used where rows enter (``reader_response``, or ``g_policy`` of shape [n, k]).

    Returns
    -------
    Estimate
        With no row influence at all when ``g_policy`` is [m] and there is no ``reader_response``.

    Raises
    ------
    DataError
        On arrays that are not finite, of different lengths, or a single draw.

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
