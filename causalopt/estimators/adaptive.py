"""Adaptively weighted doubly robust values, for logs whose allocation used earlier outcomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from causalopt.arrays import as_exposure, as_log_ratio, as_vector
from causalopt.errors import DataError, OverlapError
from causalopt.estimators.estimate import Estimate
from causalopt.estimators.jackknife import deletions_of_mean
from causalopt.estimators.weights import ratios
from causalopt.typing import Float64

SMALLEST = 1e-6
"""Smallest second moment, as a share of the largest: weights of a row are at most 1,000 times another's."""

RECENT = 50
"""Rows after which the latest logged propensity of a text is out of date."""


def adaptive_dr(log_ratio: Any, residual: Any, plug_in: Any, h: Any, *, weight: Any = None) -> Estimate:
    """Adaptively weighted doubly robust value: mean of ``Gamma_t = plug_in_t + rho_t (y_t - m_t)`` with weights h_t.

    Where a bandit chose texts by earlier outcomes, the rows are not independent: the scores Gamma_t, with rho_t a ratio
    to the logged propensity of that time, form a martingale about the value, but their variances grow as the bandit
    gives texts up, and an unweighted mean of them is not nearly normal. Weights that depend on the past alone and are
    proportional to 1 / sqrt(Var_t(Gamma_t)) stabilise the variance, so that the usual interval is valid.

    Parameters
    ----------
    log_ratio:
        log P^f(x_t | c_t) - log e_t(x_t), shape [n], nats, with e_t the logged probability with which the text was
        chosen then; -inf for a text that the policy never writes.
    residual:
        y_t - m_t, shape [n], outcome units, m_t from earlier rows alone.
    plug_in:
        Mean of m_t over the policy's texts for the reader (and prompt) of row t, shape [n], outcome units.
    h:
        Weight of each score, shape [n], zero or more, a function of earlier rows alone: see `stable_weights`.
    weight:
        Exposure of each row, shape [n], or None for ones.

    Returns
    -------
    Estimate
        With the variance ``sum h^2 (Gamma - V)^2 / (sum h)^2``, up to 1/n, by rows: given the past a row is a new
        draw, whichever text or reader it has. Degrees of freedom count rows by h_t rho_t, as for
        `dr`. ``details`` holds ``effective_rows``, (sum h)^2 / sum h^2.

    Raises
    ------
    DataError
        On arrays that are not finite or of different lengths, or a negative h.
    OverlapError
        If h is zero in all rows.

    Notes
    -----
    Hadad, Hirshberg, Zhan, Wager and Athey (2021), "Confidence intervals for policy evaluation in adaptive
    experiments" (the adaptively weighted AIPW estimator); Zhan, Hadad, Hirshberg and Athey (2021), "Off-policy
    evaluation via adaptive weighting with data from contextual bandits" (the same for policies).

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.evaluation import adaptive_dr
    >>> adaptive_dr(np.log([2.0, 1.0, 0.5]), [1.0, -1.0, 2.0], [1.0, 1.0, 1.0], [2.0, 1.0, 1.0]).value
    2.0
    """
    ratio = ratios(as_log_ratio("log_ratio", log_ratio))
    n = len(ratio)
    residual, plug_in, h = (
        as_vector(name, values, n) for name, values in (("residual", residual), ("plug_in", plug_in), ("h", h))
    )
    if (h < 0).any():
        raise DataError(f"h is negative at row {int(np.argmax(h < 0))}: weights are zero or more")
    share = as_exposure(weight, n) * h
    if not share.any():
        raise OverlapError("h is zero in all rows: the logs are too short to learn anything from earlier rows")
    share = share / share.sum()
    gamma = plug_in + ratio * residual
    value = float(share @ gamma)
    influence = n * share * (gamma - value)
    found = Estimate(value, influence, deletions=deletions_of_mean(influence, share, (), share * ratio))
    return replace(found, estimator="adaptive_dr", details={"effective_rows": float(1 / np.sum(share**2))})


def stable_weights(second_moment: Any) -> Float64:
    """Weights h_t = 1 / sqrt(E_t[rho_t^2]), shape [n], scaled to a maximum of 1.

    Given the past, the variance of a score is close to a multiple of the second moment of its ratio: the StableVar
    weights of Zhan, Hadad, Hirshberg and Athey (2021).

    Parameters
    ----------
    second_moment:
        E_t[rho_t^2] given the past, shape [n]: the sum over texts of P^f(x)^2 / e_t(x); for a difference of two
        policies the same with the difference of their probabilities. Zero for policies that do not differ.

    Examples
    --------
    >>> from causalopt.estimators.adaptive import stable_weights
    >>> stable_weights([1.0, 4.0, 16.0])
    array([1.  , 0.5 , 0.25])
    """
    moment = as_vector("second_moment", second_moment)
    largest = float(moment.max(initial=0.0))
    if largest == 0:
        return np.ones(len(moment))
    root = np.sqrt(np.maximum(moment, SMALLEST * largest))
    return np.asarray(root.min() / root, dtype=np.float64)


def latest_second_moment(share: Any, text: Any, log_propensity: Any) -> Float64:
    """Predict the second moment of a ratio from earlier rows, where only the chosen text's propensity is known, [n].

    The propensity of each of k texts is taken to be the latest one logged for it; of a text that was not chosen in the
    last 50 rows (`RECENT`) the smallest of these rows, if that is smaller; and all are scaled to sum to one.

    Parameters
    ----------
    share:
        Probability of each text under the policy, or the difference of two policies', shape [k].
    text:
        Number of the chosen text of each row, in the order of time, shape [n]; -1 for one that is not among the k.
    log_propensity:
        Its log-probability then, shape [n], nats.

    Returns
    -------
    Float64
        A function of earlier rows alone; before the second row the number of texts times the sum of squared shares, as
        for a uniform choice.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.estimators.adaptive import latest_second_moment
    >>> latest_second_moment([0.5, 0.5], [0, 1, 1], np.log([0.5, 0.5, 0.9])).round(2).tolist()
    [1.0, 1.0, 1.0]
    """
    share, log_e = as_vector("share", share), as_vector("log_propensity", log_propensity)
    chosen, e = np.asarray(text, dtype=np.int64), np.exp(log_e)
    latest, at = np.full(len(share), np.inf), np.full(len(share), -RECENT - 1)
    found = np.full(len(e), len(share) * float(share @ share))
    for t in range(1, len(e)):
        if chosen[t - 1] >= 0:
            latest[chosen[t - 1]], at[chosen[t - 1]] = e[t - 1], t - 1
        smallest = e[max(0, t - RECENT) : t].min()
        now = np.where(t - at > RECENT, np.minimum(latest, smallest), latest)
        found[t] = np.sum(share**2 / np.maximum(now / now.sum(), 1e-100))
    return found
