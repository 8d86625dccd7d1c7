"""A policy together with the reference it started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from causalopt.backends import load_policy
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.frontier import Frontier
from causalopt.summary import Summarised
from causalopt.typing import Float64


@dataclass(frozen=True, repr=False)
class OptimizedPolicy(Summarised):
    """A policy together with the reference it started from, so that `evaluate` can compute their difference.

    Attributes
    ----------
    policy, reference:
        The policy, and the start of the optimisation.
    seen:
        Data sets whose rows the policy was trained on or selected with, and on which it is not evaluated; empty for a
        policy that was loaded.
    end:
        The end of the fit, to which a path leads from the reference, see
        `causalopt.backends.contracts.InterpolablePolicy`; None for a policy that was loaded.
    frontier:
        Gain against KL on the rows by which ``policy`` was chosen on that path; None if it was not.
    """

    policy: Policy
    reference: Policy
    seen: tuple[DirectOutcomeDataset, ...] = field(default=(), repr=False)
    end: Policy | None = field(default=None, repr=False)
    frontier: Frontier | None = field(default=None, repr=False)

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the two policies, and how the first was chosen, in words."""
        rows = [("policy", type(self.policy).__name__), ("reference", type(self.reference).__name__)]
        if self.frontier is not None:
            rows.append(("chosen", self.frontier.sentence))
        if self.seen:
            rows.append(("trained on", f"{sum(map(len, self.seen)):,} rows, on which it is not evaluated"))
        return rows

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        """Log-probabilities under the optimised policy, shape [n], nats."""
        return self.policy.log_prob(prompts, texts)

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw texts from the optimised policy."""
        return self.policy.sample(prompts, n, seed)

    def save(self, directory: str | Path) -> None:
        """Write both policies to ``directory/policy`` and ``directory/reference``, as a run does."""
        self.reference.save(Path(directory) / "reference")
        self.policy.save(Path(directory) / "policy")

    @classmethod
    def load(cls, directory: str | Path) -> OptimizedPolicy:
        """Read the output of `save` or of a run."""
        return cls(load_policy(Path(directory) / "policy"), load_policy(Path(directory) / "reference"))
