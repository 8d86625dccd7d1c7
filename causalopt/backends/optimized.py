"""A policy together with the reference it started from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

from causalopt.backends import load_policy
from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.frontier import Frontier
from causalopt.doors import as_path, as_texts, check_contract, check_number, check_seed, check_type
from causalopt.errors import DataError
from causalopt.signatures import LARGEST_COUNT
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

    def __post_init__(self) -> None:
        for name in ("policy", "reference"):
            check_contract(name, getattr(self, name), ["log_prob", "sample"], "a policy")
        check_type("seen", self.seen, (tuple,), "a tuple of data sets")
        if self.end is not None:
            check_contract("end", self.end, ["log_prob", "sample"], "a policy, or None")
        check_type("frontier", self.frontier, (Frontier, NoneType), "a Frontier, or None")

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
        texts = as_texts("texts", texts)
        return self.policy.log_prob(_prompts(prompts, len(texts)), texts)

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw texts from the optimised policy."""
        check_number("n", n, least=0, most=LARGEST_COUNT, whole=True)
        check_seed("seed", seed)
        return self.policy.sample(None if prompts is None else as_texts("prompts", prompts), n, seed)

    def save(self, directory: str | Path) -> None:
        """Write both policies to ``directory/policy`` and ``directory/reference``, as a run does."""
        folder = as_path("directory", directory)
        self.reference.save(folder / "reference")
        self.policy.save(folder / "policy")

    @classmethod
    def load(cls, directory: str | Path) -> OptimizedPolicy:
        """Read the output of `save` or of a run."""
        folder = as_path("directory", directory)
        return cls(load_policy(folder / "policy"), load_policy(folder / "reference"))


def _prompts(prompts: Sequence[str] | None, n: int) -> list[str] | None:
    if prompts is None:
        return None
    listed = as_texts("prompts", prompts)
    if len(listed) != n:
        raise DataError(f"prompts has {len(listed)} entries for {n} texts")
    return listed
