"""Objectives that take bounds on other outcomes into account: the Lagrangian of the constrained problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from causalopt.backends.contracts import PolicyProblem
from causalopt.typing import Float64, Int64


def penalised(problem: PolicyProblem, others: Sequence[PolicyProblem], correlation: float) -> PolicyProblem | None:
    """Subtract from the rewards of a problem those of constrained outcomes, as the Lagrangian of the constraints does.

    Of the policies near the reference that keep bounds on the values V_k of other outcomes, the one with the largest
    value V maximises, by duality, V - sum_k lambda_k V_k for some lambda_k (Le, Voloshin and Yue 2019, "Batch policy
    learning under constraints"; Agarwal, Beygelzimer, Dudik, Langford and Wallach 2018, "A reductions approach to fair
    classification"). Pseudo-outcomes are linear in the outcome, so that this is the value of xi - sum_k lambda_k xi_k.
    These papers find the multipliers by a game on the training rows, which keeps bounds there, and not elsewhere; here
    a few are tried, and rows set apart choose among their paths.

    A policy that goes a little way from its reference P0 in the direction of a reward u moves the value of c by
    Cov(u, c), over P0. With r the correlation of g and c, and both in units of their standard deviations,

        u = g - lambda c,    lambda = r - k sqrt((1 - r^2) / (1 - k^2)),

    has the correlation k with c: at k = 0 the constrained outcome stays what it is under the reference, and below zero
    it moves away from the bound. So much the multiplier depends on the data, and so little on the outcomes' units.

    Parameters
    ----------
    problem:
        For the outcome.
    others:
        For each constrained outcome, with the same texts, oriented such that larger rewards are further from the bound.
    correlation:
        k, above -1 and below 1; each constrained outcome is given it by itself.

    Returns
    -------
    PolicyProblem or None
        None if no constrained outcome has a larger correlation with the outcome than k: there is nothing to subtract.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.contracts import PolicyProblem
    >>> from causalopt.optimization.penalty import penalised
    >>> def rewards(g):
    ...     n = len(g)
    ...     return PolicyProblem(["x"] * n, None, np.zeros(n), 0 * g, g, np.ones(n), [[]] * n, np.zeros((n, 0)))
    >>> c = np.random.default_rng(0).normal(size=1000)
    >>> g = c + np.random.default_rng(1).normal(size=1000)
    >>> found = penalised(rewards(g), [rewards(-c)], 0.0)
    >>> bool(abs(np.corrcoef(found.g, c)[0, 1]) < 1e-12)
    True
    """
    found = None
    for other in others:
        size, r = _slope_and_correlation(problem, other)
        weight = r - correlation * np.sqrt(max(1 - r**2, 0.0) / (1 - correlation**2))
        if weight > 0:
            found = _sum(problem if found is None else found, other, float(size * weight))
    return found


def _sum(one: PolicyProblem, other: PolicyProblem, factor: float) -> PolicyProblem:
    def dose_response(texts: Sequence[str], row: Int64) -> Float64:
        assert one.dose_response is not None
        assert other.dose_response is not None
        return one.dose_response(texts, row) + factor * other.dose_response(texts, row)

    known = one.dose_response is not None and other.dose_response is not None
    noise = None if one.noise is None or other.noise is None else one.noise + factor * other.noise
    return replace(
        one,
        residual=one.residual + factor * other.residual,
        g=one.g + factor * other.g,
        sampled_g=one.sampled_g + factor * other.sampled_g,
        dose_response=dose_response if known else None,
        noise=noise,
    )


def _slope_and_correlation(problem: PolicyProblem, other: PolicyProblem) -> tuple[float, float]:
    """Ratio of the spreads of two dose responses over the reference's texts, and their correlation away from bounds.

    If no texts were drawn, over the logged ones. The correlation is that of the outcome with the constrained one, whose
    rewards have the other sign; it is 0 if one of the two does not vary.
    """
    if problem.sampled_g.size:
        weight = np.repeat(problem.weight, problem.sampled_g.shape[1])
        pair = np.stack([problem.sampled_g.ravel(), other.sampled_g.ravel()])
    else:
        weight, pair = problem.weight, np.stack([problem.g, other.g])
    covariance = np.cov(pair, aweights=weight, ddof=0)
    if covariance[0, 0] <= 0 or covariance[1, 1] <= 0:
        return 0.0, 0.0
    own, its = np.sqrt(np.diag(covariance))
    return float(own / its), float(np.clip(-covariance[0, 1] / (own * its), -1.0, 1.0))
