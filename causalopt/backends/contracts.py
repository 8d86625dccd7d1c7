"""The interface between estimation and optimisation, and the contracts of backends and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from causalopt.data.choice_sets import ChoiceSets
from causalopt.data.population import Population
from causalopt.errors import DataError
from causalopt.objectives.contract import Objective
from causalopt.typing import Float64, Int64


@runtime_checkable
class Policy(Protocol):
    """A distribution over texts given a prompt. Log-probabilities are of the whole text and its end token, in nats."""

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        """log P(text_i | prompt_i), shape [n], nats. ``prompts`` is None if the policy is unconditional."""
        ...

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        """Draw ``n`` texts; with prompts, ``len(prompts) == n`` and text i answers prompt i."""
        ...

    def save(self, directory: str | Path) -> None:
        """Write everything that `load` needs, with the backend's name (`causalopt.backends.saved.name_backend`)."""
        ...

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote; the loaded policy gives the same numbers."""
        ...


@runtime_checkable
class EnumerablePolicy(Policy, Protocol):
    """A policy over known texts: its expectations are summed, and never estimated from draws."""

    def distribution(self, prompts: Sequence[str] | None) -> tuple[list[str], Float64]:
        """All k texts and their log-probabilities: shape [k] without prompts, [n, k] for n prompts, nats."""
        ...


@runtime_checkable
class InterpolablePolicy(Policy, Protocol):
    """A policy with a path from its reference to it, and beyond: one fit gives a policy at every distance."""

    def interpolated(self, reference: Policy, factor: float) -> Policy:
        """Return the policy at ``factor`` of the way: 0 gives the reference's distribution, 1 this policy's."""
        ...


@runtime_checkable
class ChoiceSetPolicy(Policy, Protocol):
    """A policy that chooses among each prompt's own candidates, known ones or those of a new prompt."""

    def choices(self, prompts: Sequence[str]) -> tuple[list[str], Float64, Int64]:
        """All candidates of each prompt, their log-probabilities, nats, and the position of their prompt, [m]."""
        ...

    def knows(self, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """Whether each text is a candidate of its prompt."""
        ...

    def answering(self, sets: ChoiceSets) -> Self:
        """Return the policy over more prompts; the candidates of prompts that are known do not change."""
        ...


@dataclass(frozen=True)
class PolicyProblem:
    """The complete input of an optimiser, which never sees an outcome, a covariate or an estimator.

    ``residual``, ``g`` and ``sampled_g`` are oriented so that larger is better, centred, and in units of the outcome's
    standard deviation; log-probabilities are in nats.

    Attributes
    ----------
    texts, prompts:
        The n logged rows; ``prompts`` is None if there are none.
    behavior_log_prob:
        log q(x_i | c_i), shape [n].
    residual, g:
        s (y - m), or its expectation from a second stage, and the dose response at the logged texts, shape [n].
    weight:
        Exposure of each row, shape [n], with mean one.
    sampled_texts:
        ``per_row`` texts from the reference for each logged row, given that row's prompt: n lists of equal length
        (each empty for an objective without a sampled term).
    sampled_g:
        Their dose response, shape [n, per_row].
    dose_response:
        ``dose_response(texts, row)``, shape [k], of texts written for rows (``row`` holds the position of each text's
        row), in the units of ``sampled_g``: for a backend that draws new texts during the fit. None if unknown.
    noise:
        What a second stage left out of ``residual``, shape [n], for the variance of an estimated value; None for none.
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
    noise: Float64 | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        for name in ("behavior_log_prob", "residual", "g", "weight", *(() if self.noise is None else ("noise",))):
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

    A backend calls `judge` on intermediate policies of its fit, ends the fit if `is_over` is true, and returns the
    `best` policy. If a backend does not call the rule, the caller applies it to the final policy. Decisions depend only
    on the results of `judge`, so that a resumed fit makes the same ones.

    Attributes
    ----------
    name:
        Identifies the rule: a fit is never resumed from one under a different rule.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def judge(self, policy: Policy) -> dict[str, float]:
        """Return the measurements of a policy: ``score`` (minus infinity if it must not be kept), ``kl``."""
        ...

    def is_over(self, found: Sequence[Mapping[str, float]]) -> bool:
        """Whether the measurements so far, in the order of the fit, end the fit."""
        ...

    def best(self, found: Sequence[Mapping[str, float]]) -> int | None:
        """Position of the policy to keep; None, with a warning, for the reference."""
        ...


Callback = Callable[[str, Mapping[str, Any]], None]
"""Called as ``callback(event, metrics)`` during a fit: event is "step" (metrics of one optimiser step) or "score"
(measurements of an intermediate policy by a `CheckpointRule`)."""


@dataclass(frozen=True)
class Progress:
    """The directory with the state that a backend needs to resume, and the callbacks that it reports to.

    ``events`` is the folder for what a reporting service writes as files, which are kept; by default it decides itself.
    """

    directory: Path | None = None
    callbacks: Sequence[Callback] = field(default_factory=tuple)
    events: Path | None = None


@runtime_checkable
class Backend(Protocol):
    """Fits a reference policy to logged texts, and a better policy to a `PolicyProblem`.

    Attributes
    ----------
    population:
        The population that its policies' values refer to: drawn texts if they write new ones, fixed if they choose.
    """

    @property
    def population(self) -> Population:
        """See the class."""
        ...

    def check(self, objectives: Sequence[Objective] = (), per_row: int = 1) -> None:
        """Raise a `CausalOptError` now for anything that would fail later (a missing model), without loading it.

        ``objectives`` are those that will be fitted, with ``per_row`` sampled texts for each row.
        """
        ...

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> Policy:
        """Return P^f0: the model as it is, or tuned on the logged texts, depending on the backend's settings."""
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
        """Start at the reference and maximise the objective. With ``progress.directory``, a killed fit resumes there.

        With ``on_checkpoint``, return the policy that the rule selects, or the reference; otherwise the last policy.
        """
        ...

    @staticmethod
    def load_policy(source: str | Path, cache: Path | None) -> Policy:
        """Load a policy of this backend from a folder that names the backend (`causalopt.backends.saved.name_backend`).

        ``cache`` is a folder in which it may store computed values, such as log-probabilities.
        """
        ...


@runtime_checkable
class LanguageModelBackend(Backend, Protocol):
    """A backend whose reference may be the very model that wrote the logs."""

    def compare_logged(
        self, reference: Policy, prompts: Sequence[str] | None, texts: Sequence[str], log_prob: Float64, *, seed: int
    ) -> str | None:
        """Say in a sentence whether logged log-probabilities [n], nats, are those of the reference.

        None if the reference was tuned on the logged texts. If they are not, it is a warning too.
        """
        ...


@dataclass(frozen=True)
class TextTokens:
    """How a language model reads texts, by its tokenizer alone.

    Attributes
    ----------
    lengths:
        Tokens of each text with its end, shape [k].
    with_prompts:
        The same with what stands before the text, shape [k].
    limit:
        Tokens of both together that the model reads at most; None if it is made to fit them.
    chat_template:
        Whether prompts are written by the tokenizer's chat template.
    system_prompt:
        System prompt of the conversations that have none of their own: that of the settings, or of the template; None
        if there is none.
    inserted:
        Whether the template inserts it by itself.
    """

    lengths: Int64
    with_prompts: Int64
    limit: int | None
    chat_template: bool
    system_prompt: str | None
    inserted: bool

    @property
    def cut(self) -> int:
        """Number of texts that are longer than the limit."""
        return 0 if self.limit is None else int((self.with_prompts > self.limit).sum())


@runtime_checkable
class TokenizingBackend(Backend, Protocol):
    """A backend that can say how its model reads texts before the model is loaded."""

    def tokens(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> TextTokens:
        """Tokenise texts, each with its prompt, as the policy will.

        Raises
        ------
        DataError
            If a text is too long, and the settings do not allow it to be cut.
        """
        ...


@runtime_checkable
class DescribedBackend(Backend, Protocol):
    """A backend that fills in defaults of its own, which a run's ``config.yaml`` writes out."""

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments that make an equal backend, with every default."""
        ...


@runtime_checkable
class PilotedBackend(Backend, Protocol):
    """A backend whose fits have more epochs on few rows, so that a trial on some of the rows takes too long by rows."""

    def for_trial(self, rows: int) -> Backend:
        """Return the backend for a trial on fewer rows, whose fit has as many epochs as one on ``rows`` rows."""
        ...


BACKEND = ("population", "check", "reference", "fit", "load_policy")
"""Attributes that an object needs to be a `Backend`."""


@runtime_checkable
class CandidateBackend(Backend, Protocol):
    """A backend whose policies choose among known texts; if none are set, a run passes all texts of its data."""

    @property
    def candidates(self) -> Sequence[str] | ChoiceSets | None:
        """The texts, or those of each prompt, or None if they are not set yet."""
        ...

    def with_candidates(self, texts: Sequence[str], sets: ChoiceSets | None = None) -> Backend:
        """Return the backend with these texts as candidates.

        ``sets`` are the texts that were logged with each prompt, if there are prompts: a backend may choose among these
        instead, where prompts have candidates of their own.
        """
        ...
