"""On-policy texts: at regular steps the policy draws new texts for the g term (an extension beyond the paper).

The ratio of such a text is to the policy that drew it. The terms that measure the distance from the reference keep the
texts of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from causalopt.backends.contracts import PolicyProblem
from causalopt.backends.huggingface.batches import OnPolicyTexts, TrainingRows
from causalopt.backends.huggingface.policy import HuggingFacePolicy
from causalopt.errors import ConfigError
from causalopt.typing import Float64

_FILE = "on_policy_texts.npz"


class Refresh:
    """Draws the texts, adds them to the training rows, and saves them with a checkpoint.

    Parameters
    ----------
    every_steps, per_row:
        As in `causalopt.language_models.settings.RefreshSettings`.
    problem:
        A problem with a ``dose_response``.
    rows:
        The problem in tokens; its ``on_policy`` is replaced.
    seed:
        Seed of the texts that are drawn, together with the step.

    Raises
    ------
    ConfigError
        If the problem has no ``dose_response``.
    """

    def __init__(self, every_steps: int, per_row: int, problem: PolicyProblem, rows: TrainingRows, seed: int) -> None:
        if problem.dose_response is None:
            raise ConfigError("backend.refresh: the problem has no dose_response, so new texts would have no g")
        self.every_steps = every_steps
        self._per_row = per_row
        self._dose_response: Callable[..., Float64] = problem.dose_response
        self._prompts = None if problem.prompts is None else [c for c in problem.prompts for _ in range(per_row)]
        self._rows = rows
        self._seed = seed
        self._texts: list[str] = []

    def draw(self, policy: HuggingFacePolicy, step: int) -> None:
        """Draw texts from the policy at ``step``."""
        seed = int(np.random.SeedSequence([self._seed, step]).generate_state(1)[0])
        texts = policy.sample(self._prompts, len(self._rows) * self._per_row, seed)
        self._set(policy, texts, policy.log_prob(self._prompts, texts))

    def save(self, directory: Path) -> None:
        """Write the texts of the last draw, if there was one, with their log-probabilities."""
        if self._rows.on_policy is not None:
            with (directory / _FILE).open("wb") as stream:
                np.savez(stream, texts=np.array(self._texts), log_prob=self._rows.on_policy.log_prob.reshape(-1))

    def load(self, policy: HuggingFacePolicy, directory: Path) -> None:
        """Read the output of `save`; ``policy`` provides the tokenizer."""
        if (directory / _FILE).is_file():
            with np.load(directory / _FILE) as kept:
                self._set(policy, [str(text) for text in kept["texts"]], kept["log_prob"])

    def _set(self, policy: HuggingFacePolicy, texts: list[str], log_prob: Float64) -> None:
        n, k = len(self._rows), self._per_row
        sequences = policy.codec.encode(self._prompts, texts)
        self._texts = texts
        self._rows.on_policy = OnPolicyTexts(
            [sequences[i * k : (i + 1) * k] for i in range(n)],
            np.asarray(self._dose_response(texts, np.repeat(np.arange(n), k)), np.float64).reshape(n, k),
            log_prob.reshape(n, k),
        )
