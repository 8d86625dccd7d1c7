"""The best policy within a given KL of a reference: the reference tilted by exp(g / lambda).

Among all P with KL(P || P0) at most kappa, the one with the largest mean of g is P(x) proportional to
P0(x) exp(g(x) / lambda), for the lambda at which its KL is kappa (the Donsker-Varadhan variational formula). Its KL
is strictly decreasing in lambda, so lambda is the root of one equation in one unknown.

With prompts, a distribution is a table [C, k] of log P(c) + log P(x | c). A policy chooses texts and not prompts, so
each row keeps its mass; the KL of two such tables is E_c KL(P(. | c) || P0(. | c)), and one lambda serves all prompts.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from causalopt.errors import ConfigError
from causalopt.typing import Float64


def kl_divergence(log_p: Float64, log_q: Float64) -> float:
    """KL(p || q) of two normalised distributions of the same shape, nats; infinite if p leaves q's support.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation.tilting import kl_divergence
    >>> round(kl_divergence(np.log([1.0, 1e-300]), np.log([0.5, 0.5])), 6)
    0.693147
    """
    inside = log_p > -np.inf
    return float(np.exp(log_p[inside]) @ (log_p[inside] - log_q[inside]))


def tilt(log_prob: Float64, g: Float64, temperature: float) -> Float64:
    """Log-probabilities of the reference tilted by exp(g / temperature), shape [k], or [C, k] with prompts.

    Parameters
    ----------
    log_prob:
        The reference's log-probabilities, shape [k] or [C, k], normalised over all entries; -inf for probability zero.
    g:
        Dose response, of the same shape, outcome units.
    temperature:
        lambda, outcome units per nat; 0 puts all mass on the best texts, infinity returns the reference.
    """
    if temperature == np.inf:
        return log_prob
    # P0 exp(g / lambda) over its sum; the largest g is subtracted, which cancels in the ratio, so that no exponential
    # overflows a float as lambda approaches 0.
    highest = np.where(log_prob > -np.inf, g, -np.inf).max(axis=-1, keepdims=True)
    best = np.where(g == highest, log_prob, -np.inf)
    tilted = best if temperature == 0 else log_prob + (g - highest) / temperature
    mass = logsumexp(log_prob, axis=-1, keepdims=True)
    return np.asarray(tilted - logsumexp(tilted, axis=-1, keepdims=True) + mass, dtype=np.float64)


def temperature_at(log_prob: Float64, g: Float64, kl: float) -> float:
    """Return the lambda at which the tilted reference is ``kl`` nats from the reference.

    Parameters
    ----------
    log_prob, g:
        As in `tilt`.
    kl:
        Nats, not negative. At or above the KL of the best texts alone, lambda is 0.

    Raises
    ------
    ConfigError
        If ``kl`` is negative or not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt
    >>> log_prob, g = np.log([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0])
    >>> best = tilt(log_prob, g, temperature_at(log_prob, g, kl=0.5))
    >>> round(kl_divergence(best, log_prob), 8)
    0.5
    """
    if not kl >= 0:
        raise ConfigError(f"a KL must be a number that is not negative, not {kl}")
    spread = _standard_deviation(log_prob, g)
    if kl == 0 or spread == 0:
        return np.inf
    if kl >= kl_divergence(tilt(log_prob, g, 0.0), log_prob):
        return 0.0

    def excess(log_temperature: float) -> float:
        return kl_divergence(tilt(log_prob, g, float(np.exp(log_temperature))), log_prob) - kl

    # A small KL is about var(g) / (2 lambda^2), exactly if g is Gaussian: a first guess, then widened to a bracket.
    low = high = float(np.log(spread) - 0.5 * np.log(2 * kl))
    while excess(low) < 0:
        low -= 1.0
    while excess(high) > 0:
        high += 1.0
    root = low if low == high else brentq(excess, low, high, xtol=1e-13, rtol=1e-14)
    return float(np.exp(root))


def _standard_deviation(log_prob: Float64, g: Float64) -> float:
    """Return the standard deviation of g about its mean in each row."""
    prob = np.exp(log_prob)
    mean = (prob * g).sum(axis=-1, keepdims=True) / prob.sum(axis=-1, keepdims=True)
    return float(np.sqrt((prob * (g - mean) ** 2).sum()))
