"""Held-out losses of nuisances: what learners are compared by, and what a report says about them."""

from __future__ import annotations

import numpy as np

from causalopt.typing import Float64, Int64

DEALS = 10
"""Times that readers are dealt anew to texts, to score an assignment model."""


def squared_loss(y: Float64, m: Float64, weight: Float64) -> float:
    """Weighted mean of (y - m)^2, squared outcome units."""
    return float(np.average((y - m) ** 2, weights=weight))


def discrimination_loss(log_s: Float64, log_s_dealt: Float64, weight: Float64, weight_dealt: Float64) -> float:
    """Logistic loss of telling real (text, reader) pairs from pairs dealt at random, nats.

    The log-odds that a pair is real are -log s. The loss is smallest for the true s (it is a proper scoring rule) and
    log 2 for s = 1, whatever kind of model s comes from. Rows among which no two of positive weight can trade readers
    say nothing of s: the loss is then log 2.

    Parameters
    ----------
    log_s, weight:
        Of held-out rows, shape [n].
    log_s_dealt, weight_dealt:
        Of held-out texts with the readers of other held-out rows, shape [k].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.scoring import discrimination_loss
    >>> loss = discrimination_loss(np.zeros(3), np.zeros(5), np.ones(3), np.ones(5))
    >>> bool(np.isclose(loss, np.log(2)))
    True
    """
    if weight_dealt.sum() <= 0:
        return float(np.log(2))
    real = np.average(np.logaddexp(0, log_s), weights=weight)
    dealt = np.average(np.logaddexp(0, -log_s_dealt), weights=weight_dealt)
    return float((real + dealt) / 2)


def deal(n: int, rng: np.random.Generator, deals: int = DEALS) -> tuple[Int64, Int64]:
    """Positions of texts and of the readers dealt to them, never a text's own reader, shape [n * deals].

    Each deal shifts a random order of the rows, so that every text and every reader comes up equally often.
    """
    order = rng.permutation(n)
    shifts = rng.permutation(np.arange(1, n))[:deals] if n > 1 else np.zeros(0, dtype=np.int64)
    texts = [order for _ in shifts]
    readers = [np.roll(order, int(shift)) for shift in shifts]
    if not texts:
        return order[:0], order[:0]
    return np.concatenate(texts), np.concatenate(readers)
