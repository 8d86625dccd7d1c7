"""One log of texts: values with ratios of sequences, and with ratios in embedding space."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.long_texts.language import NOISE, dose_response, embedding, models
from causalopt.errors import OverlapWarning
from causalopt.evaluation import dm, dr, marginal_log_ratio, mdr, mips, overlap, snipw
from causalopt.nuisance.cross_fitting import cross_fit


def replicate(length: int, n: int, truth: float, seed: int) -> list[dict[str, Any]]:
    """Estimates from ``n`` logged texts and as many of the policy; the outcome model is a ridge, and so a little wrong.

    ``ess`` is the effective sample size of the ratios that an estimator stands on.
    """
    logging, policy = models()
    rng = np.random.default_rng([seed, length])
    logged, drawn = logging.sample(n, length, rng), policy.sample(n, length, rng)
    x, x_policy = embedding(logged), embedding(drawn)
    y = dose_response(x) + NOISE * rng.standard_normal(n)
    sequence = (policy.token_log_probs(logged) - logging.token_log_probs(logged)).sum(axis=1)
    fit = cross_fit(x, None, y, group=np.arange(n), outcome_model="ridge", seed=seed)
    g_policy = fit.dose_response(x_policy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverlapWarning)  # thin overlap is what is measured
        marginal = marginal_log_ratio(x, x_policy, seed=seed)
        found = {
            "naive": (snipw(np.zeros(n), y), np.zeros(n)),
            "dm": (dm(g_policy), np.zeros(n)),
            "snipw": (snipw(sequence, y), sequence),
            "dr": (dr(sequence, y, fit.g, g_policy), sequence),
            "mips": (mips(marginal, y), marginal),
            "mdr": (mdr(marginal, y, fit.g, g_policy), marginal),
        }
    rows = []
    for name, (estimate, log_ratio) in found.items():
        low, high = estimate.confint(0.95)
        numbers = {"estimate": estimate.value, "se": estimate.se, "ci_low": low, "ci_high": high}
        ess = overlap(log_ratio).ess
        rows.append({"length": length, "replication": seed, "estimator": name, "truth": truth, **numbers, "ess": ess})
    return rows


def effective_sizes(length: int, n: int, seed: int) -> np.ndarray:
    """Effective sample size of the sequence ratio of texts cut after 1, 2, ... ``length`` tokens."""
    logging, policy = models()
    texts = logging.sample(n, length, np.random.default_rng([seed, 6]))
    log_ratio = np.cumsum(policy.token_log_probs(texts) - logging.token_log_probs(texts), axis=1)
    return np.array([overlap(column).ess for column in log_ratio.T])
