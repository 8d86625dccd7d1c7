"""What passes between estimation and optimisation, and what a backend and a policy must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from causalopt.data.population import Population
from causalopt.errors import DataError
from causalopt.objectives.contract import Objective
from causalopt.typing import Float64, Int64


@runtime_checkable
class Policy(Protocol):
    """A distribution over texts given a prompt. Log-probabilities are of the whole text with its end, in nats."""

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        """log P(text_i | prompt_i), shape [n], nats. ``prompts`` is None when the policy is unconditional."""
        ...

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw ``n`` texts; with prompts, ``len(prompts) == n`` and text i answers prompt i."""
        ...

    def save(self, directory: str | Path) -> None:
        """Write everything `load` needs, and name the backend (`causalopt.backends.saved.name_backend`)."""
        ...

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote; the loaded policy gives the same numbers."""
        ...


@runtime_checkable
class EnumerablePolicy(Policy, Protocol):
    """A policy over known texts: what it expects can be summed, and is never estimated from draws."""

    def distribution(self, prompts: Sequence[str] | None) -> tuple[list[str], Float64]:
        """All k texts, and their log-probabilities: shape [k] without prompts, [n, k] for n prompts, nats."""
        ...


@dataclass(frozen=True)
class PolicyProblem:
    """All an optimiser sees: it never meets an outcome, a covariate or an estimator.

    ``residual``, ``g`` and ``sampled_g`` are oriented so that larger is better, centred and in units of the outcome's
    standard deviation; log-probabilities are in nats.

    Attributes
    ----------
    texts, prompts:
        The logged rows, n of them; ``prompts`` is None when there are none.
    behavior_log_prob:
        log q(x_i | c_i), shape [n].
    residual, g:
        s (y - m), or what a second stage expects it to be, and the dose response at the logged texts, shape [n].
    weight:
        Exposure of each row, shape [n], mean one.
    sampled_texts:
        ``per_row`` texts from the reference for each logged row, given that row's prompt: n lists of equal length
        (each empty for an objective without a sampled term).
    sampled_g:
        Their dose response, shape [n, per_row].
    dose_response:
        ``dose_response(texts, row)``, shape [k], of texts written for rows (``row`` holds the position of each one's
        row), in the units of ``sampled_g``: for a backend that draws new texts on the way. None when nobody can tell.
    """

    texts: Sequence[str]
    prompts: Sequence[str] | None
    behavior_log_prob: Float64
    residual: Float64
    g: Float64
    weight: Float64
    sampled_texts: Sequence[Sequence[str]]
    sampled_g: Float64
    dose_response: Callable[[Sequence[str], Int64], Float64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n = len(self.texts)
        for name in ("behavior_log_prob", "residual", "g", "weight"):
            values = getattr(self, name)
            if values.shape != (n,):
                raise DataError(f"{name} has shape {values.shape}; it must be ({n},), one value for each text")
            if not np.isfinite(values).all():
                raise DataError(f"{name} is not finite at row {int(np.flatnonzero(~np.isfinite(values))[0])}")
        if self.prompts is not None and len(self.prompts) != n:
            raise DataError(f"there are {len(self.prompts)} prompts for {n} texts")
        shape = (n, len(self.sampled_texts[0]) if n else 0)
        if len(self.sampled_texts) != n or any(len(row) != shape[1] for row in self.sampled_texts):
            raise DataError("sampled_texts must hold the same number of texts for each row")
        if self.sampled_g.shape != shape or not np.isfinite(self.sampled_g).all():
            raise DataError(f"sampled_g must be finite with shape {shape}, not {self.sampled_g.shape}")

    def __len__(self) -> int:
        return len(self.texts)


@runtime_checkable
class CheckpointRule(Protocol):
    """Which policy of a fit is kept and when the fit ends: the caller's decision, the same for every backend.

    A backend calls `judge` on the policies that its fit passes through, ends the fit when `is_over`, and returns the
    policy that is `best`. The caller holds the policy of a backend that does not to the same rule. Decisions depend on
    what was found alone, so that a resumed fit makes the same ones.

    Attributes
    ----------
    name:
        Tells this rule from others: a fit never resumes from one that was judged otherwise.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return what is found at a policy: ``score`` (minus infinity for one that may not be kept), ``kl``."""
        ...

    def is_over(self, found: Sequence[Mapping[str, float]]) -> bool:
        """Whether what was found so far, in the order of the fit, ends it."""
        ...

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        """Position of the policy to keep; None, with a warning, for the reference."""
        ...


Callback = Callable[[str, Mapping[str, Any]], None]
"""Called as ``callback(event, metrics)`` while a backend works: event is "step" (metrics of one optimiser step) or
"score" (what a `CheckpointRule` finds at a policy on the way)."""


@dataclass(frozen=True)
class Progress:
    """Where a backend keeps what it needs to resume, and the callbacks that it reports to."""

    directory: Path | None = None
    callbacks: Sequence[Callback] = field(default_factory=tuple)


@runtime_checkable
class Backend(Protocol):
    """Makes a reference policy from logged texts, and a better policy from a `PolicyProblem`.

    Attributes
    ----------
    population:
        What the value of its policies is over: drawn texts where they write new ones, fixed ones where they choose.
    """

    @property
    def population(self) -> Population:
        """See the class."""
        ...

    def check(self, objectives: Sequence[Objective] = (), per_row: int = 1) -> None:
        """Raise a `CausalOptError` now for what would fail later (a model that is not there), without loading it.

        ``objectives`` are those that it will be asked to fit, with ``per_row`` sampled texts for each row.
        """
        ...

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> Policy:
        """Return P^f0: the model as it is, or tuned on the logged texts, as the backend's settings say."""
        ...

    def fit(
        self,
        problem: PolicyProblem,
        objective: Objective,
        *,
        reference: Policy,
        seed: int,
        progress: Progress,
        on_checkpoint: CheckpointRule | None = None,
    ) -> Policy:
        """Start at the reference and maximise the objective. With ``progress.directory`` a killed fit resumes there.

        With ``on_checkpoint`` the policy that the rule calls best is returned, or the reference; without, the last one.
        """
        ...

    @staticmethod
    def load_policy(source: str | Path, cache: Path | None) -> Policy:
        """Read a policy of this backend, from a folder that names it (`causalopt.backends.saved.name_backend`).

        ``cache`` is a folder in which it may keep what it computes, such as log-probabilities.
        """
        ...


BACKEND = ("population", "check", "reference", "fit", "load_policy")
"""What an object must have to be a `Backend`."""


@runtime_checkable
class CandidateBackend(Backend, Protocol):
    """A backend whose policies choose among known texts; a run without any gives it all texts of its data."""

    @property
    def candidates(self) -> Sequence[str] | None:
        """The texts, or None while there are none."""
        ...

    def with_candidates(self, texts: Sequence[str]) -> Backend:
        """Return the backend over these texts."""
        ...
