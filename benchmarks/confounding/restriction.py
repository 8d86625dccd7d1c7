"""A policy given that it writes one of the world's texts: what the truth without any draws is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from causalopt.backends.contracts import Policy
from causalopt.typing import Float64


class OnTexts:
    """``policy`` restricted to ``texts`` and normalised over them, without prompts.

    A language model that was tuned writes other texts too. An estimate of the value of all that it writes is then an
    estimate of something else than the value given the world's texts.
    """

    def __init__(self, policy: Policy, texts: Sequence[str]) -> None:
        self._policy, self._texts = policy, list(texts)
        table = policy.log_prob(None, self._texts)
        self._log_mass = float(logsumexp(table))
        self._share = np.exp(table - self._log_mass)

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        return self._policy.log_prob(prompts, texts) - self._log_mass

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        drawn = np.random.default_rng(seed).choice(len(self._texts), n, p=self._share / self._share.sum())
        return [self._texts[i] for i in drawn]
