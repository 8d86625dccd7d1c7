"""Whom an evaluation is about: a model at hand, a policy known by numbers alone, or the logs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from causalopt import reading
from causalopt.backends.contracts import Policy
from causalopt.dataset import DirectOutcomeDataset
from causalopt.errors import DataError
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.typing import Float64


@dataclass(frozen=True)
class Draws:
    """Texts drawn from a policy, with the dose response that the rows' nuisances give them.

    Attributes
    ----------
    texts, prompts:
        m independent draws, for prompts that come up as often as in the rows; or one text in the context of each row.
    g:
        Shape [m]; or [n, 1] for one text a row, whose order is that of the rows.
    logged:
        Whether they are the logged texts themselves, whose g comes from models that did not see them.
    """

    texts: list[str]
    prompts: list[str] | None
    g: Float64
    logged: bool = False

    def with_response_of(self, pseudo: PseudoOutcomes) -> Draws:
        """Return the same texts with the dose response of other nuisances."""
        g = pseudo.g if self.logged else pseudo.dose_response(self.texts, self.prompts)
        return replace(self, g=g.reshape(self.g.shape))

    def sample(self, weight: Float64, seed: int) -> tuple[list[str], list[str] | None]:
        """Texts and prompts that count equally; one text a row is drawn again where rows differ in ``weight``, [n]."""
        if self.g.ndim == 1 or np.ptp(weight) == 0:
            return self.texts, self.prompts
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self.texts), size=len(self.texts), p=weight / weight.sum())
        prompts = None if self.prompts is None else [self.prompts[i] for i in chosen]
        return [self.texts[i] for i in chosen], prompts


class Subject(Protocol):
    """What an evaluation needs of a policy; None stands for what is not known."""

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        """log P(x_i | c_i) of the logged texts, shape [n], nats."""
        ...

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int) -> Draws | None:
        """Texts of the policy: ``n`` of them where they are drawn here."""
        ...


@dataclass(frozen=True)
class ModelPolicy:
    """A policy that is at hand."""

    policy: Policy

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return self.policy.log_prob(data.prompts, data.texts)

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int) -> Draws | None:
        data = pseudo.dataset
        prompts = None
        if data.prompts is not None:
            rng = np.random.default_rng(seed)
            prompts = [data.prompts[i] for i in rng.choice(len(data), size=n, p=data.weight / data.weight.sum())]
        texts = self.policy.sample(prompts, n, seed)
        return Draws(texts, prompts, pseudo.dose_response(texts, prompts))


@dataclass(frozen=True)
class ExternalPolicy:
    """A policy known by numbers computed elsewhere.

    Its log-probabilities of the logged texts are the data set's column ``policy_log_prob``. Its own texts, which the
    estimators with a plug-in part need, are given here, or are the data set's column ``policy_text``.

    Parameters
    ----------
    texts, prompts:
        Independent draws; where the data have prompts, so must they, each as often as in the data.

    Examples
    --------
    >>> from causalopt.evaluation.policies import ExternalPolicy
    >>> ExternalPolicy(["give now", "join us"]).texts
    ('give now', 'join us')
    """

    texts: Sequence[str] | None = None
    prompts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("texts", "prompts"):
            values = getattr(self, name)
            object.__setattr__(self, name, None if values is None else tuple(values))

    @classmethod
    def from_path(cls, path: str | Path, *, text: str = "text", prompt: str | None = None) -> ExternalPolicy:
        """Read draws from a table with a column of texts, and one of prompts where the data have prompts.

        Raises
        ------
        DataError
            When a column is missing, or a draw is empty.
        """
        frame = reading.read_table(Path(path))
        columns = [text] if prompt is None else [text, prompt]
        for column in columns:
            if column not in frame:
                names = ", ".join(map(str, frame.columns))
                raise DataError(f"{path}: there is no column {column!r} of drawn texts; there are: {names}")
            empty = frame[column].map(lambda cell: not isinstance(cell, str) or not cell.strip())
            if empty.any():
                raise DataError(f"{path}: column {column!r}, row {int(empty.argmax()) + 1} holds no text")
        return cls(frame[text].tolist(), None if prompt is None else frame[prompt].tolist())

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return data.policy_log_prob

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int) -> Draws | None:
        data = pseudo.dataset
        if self.texts is None:
            if data.policy_text is None:
                return None
            g = pseudo.dose_response(data.policy_text, data.prompts)
            return Draws(data.policy_text, data.prompts, g[:, None])
        if (self.prompts is None) != (data.prompts is None):
            raise DataError(f"the texts drawn elsewhere must have prompts if and only if {data.source} has them")
        texts, prompts = list(self.texts), None if self.prompts is None else list(self.prompts)
        return Draws(texts, prompts, pseudo.dose_response(texts, prompts))


@dataclass(frozen=True)
class LoggedPolicy:
    """The policy that wrote the logs: its ratio is 1, and its texts are the logged ones."""

    def log_prob(self, data: DirectOutcomeDataset) -> Float64 | None:
        return data.behavior_log_prob

    def draw(self, pseudo: PseudoOutcomes, n: int, seed: int) -> Draws | None:
        return Draws(pseudo.dataset.texts, pseudo.dataset.prompts, pseudo.g[:, None], logged=True)


def as_subject(policy: Policy | ExternalPolicy | LoggedPolicy) -> ModelPolicy | ExternalPolicy | LoggedPolicy:
    """Wrap a policy that is at hand; the others are what they are."""
    return policy if isinstance(policy, ExternalPolicy | LoggedPolicy) else ModelPolicy(policy)
