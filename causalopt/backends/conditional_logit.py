"""A distribution over each prompt's own candidates, log-linear in their features, that answers new prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import load_file, save_file

from causalopt.backends.contracts import Policy
from causalopt.backends.saved import name_backend
from causalopt.backends.text_features import TextFeatures
from causalopt.data.choice_sets import ChoiceSets
from causalopt.errors import DataError, ModelError, one_line
from causalopt.output import writing_folder
from causalopt.typing import Float64, Int64

DESCRIPTION = "conditional_logit.json"
_ARRAYS = "conditional_logit.safetensors"


@dataclass(frozen=True, eq=False)
class ConditionalLogitPolicy:
    """P(x | c) proportional to base(c, x) exp(theta' phi(x)) over the candidates of the prompt c (McFadden 1974).

    The coefficients are shared by all prompts, so that the policy also chooses among the candidates of a new prompt
    (`answering`).

    Attributes
    ----------
    sets:
        The candidates of each prompt, N in all.
    log_base:
        log base(c, x), shape [N], up to a constant for each prompt.
    features:
        phi of each candidate, shape [N, d].
    theta:
        Shape [d]; zeros give the base.
    embedding:
        Gives the features of new candidates.
    tune:
        Whether the base of new prompts is the share of their exposure, or uniform.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.conditional_logit import ConditionalLogitPolicy
    >>> from causalopt.backends.text_features import TextFeatures
    >>> from causalopt.data.choice_sets import ChoiceSets
    >>> sets = ChoiceSets.listed({"Storm": ["Storm hits", "Roofs fly"], "Vote": ["They voted", "A tie"]})
    >>> embedding = TextFeatures.fit({"name": "tfidf-svd", "dimensions": 2}, list(sets.texts))
    >>> start = ConditionalLogitPolicy(sets, np.zeros(4), embedding.of(sets.texts), np.zeros(2), embedding)
    >>> start.choices(["Vote"])[0], start.log_prob(["Vote"], ["A tie"]).round(2).tolist()
    (['They voted', 'A tie'], [-0.69])
    >>> new = ChoiceSets.listed({"Cup": ["Cup won", "Cup lost", "A draw"]})
    >>> start.answering(new).log_prob(["Cup"], ["Cup lost"]).round(2).tolist()
    [-1.1]
    """

    sets: ChoiceSets
    log_base: Float64
    features: Float64
    theta: Float64
    embedding: TextFeatures
    tune: bool = True

    def __post_init__(self) -> None:
        n, d = len(self.sets), len(self.theta)
        if self.log_base.shape != (n,) or self.features.shape != (n, d):
            raise DataError(
                f"there are {n} candidates and {d} coefficients, but log_base has shape {self.log_base.shape} and "
                f"features {self.features.shape}"
            )

    @property
    def segment(self) -> Int64:
        """Position of the prompt of each candidate, shape [N]."""
        return self.sets.segment

    @cached_property
    def candidate_log_prob(self) -> Float64:
        """log P(x | c) of every candidate of every prompt, shape [N], nats."""
        scores = self.log_base + self.features @ self.theta
        first = self.sets.start[:-1]
        scores = scores - np.maximum.reduceat(scores, first)[self.segment]
        return np.asarray(scores - np.log(np.add.reduceat(np.exp(scores), first))[self.segment])

    @property
    def probability(self) -> Float64:
        """P(x | c) of every candidate of every prompt, shape [N]."""
        return np.asarray(np.exp(self.candidate_log_prob))

    def with_theta(self, theta: Float64) -> Self:
        """Return the policy with the same base and features, and other coefficients."""
        return replace(self, theta=np.asarray(theta, dtype=np.float64))

    def interpolated(self, reference: Policy, factor: float) -> Self:
        """P(x | c) proportional to P0(x | c) (P1(x | c) / P0(x | c))^factor, of the reference P0 and this policy P1.

        Raises
        ------
        ModelError
            If the reference is not over the same candidates with the same features.
        """
        if not (
            isinstance(reference, ConditionalLogitPolicy)
            and (reference.sets.prompts, reference.sets.texts) == (self.sets.prompts, self.sets.texts)
            and np.array_equal(reference.features, self.features)
            and np.array_equal(reference.log_base, self.log_base)
        ):
            raise ModelError("a policy has a path only from a reference over the same candidates and features")
        return self.with_theta(reference.theta + factor * (self.theta - reference.theta))

    def answering(self, sets: ChoiceSets) -> Self:
        """Return the same coefficients over more prompts; the candidates of prompts that are known do not change.

        Raises
        ------
        ModelError
            If the embedder of the policy is not known, see `TextFeatures`.
        """
        new = sets.without(self.sets)
        if new is None:
            return self
        return replace(
            self,
            sets=self.sets.with_more(new),
            log_base=np.concatenate([self.log_base, log_shown(new) if self.tune else np.zeros(len(new))]),
            features=np.vstack([self.features, self.embedding.of(new.texts)]),
        )

    def index_of(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Int64:
        """Position of each text with its prompt in `candidate_log_prob`, shape [n]; `DataError` for unknown texts."""
        return self.sets.index_of(self._asked(prompts, len(texts)), texts)

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        return self.candidate_log_prob[self.index_of(texts, prompts)]

    def choices(self, prompts: Sequence[str]) -> tuple[list[str], Float64, Int64]:
        """All candidates of each prompt, their log-probabilities, nats, and the position of their prompt, [m]."""
        candidate, of_prompt = self.sets.candidates_of(prompts)
        return [self.sets.texts[j] for j in candidate], self.candidate_log_prob[candidate], of_prompt

    def knows(self, prompts: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """Whether each text is a candidate of its prompt."""
        return self.sets.knows(prompts, texts)

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        candidate, of_prompt = self.sets.candidates_of(self._asked(prompts, n))
        # The largest of log P + Gumbel noise is a draw from P.
        noise = np.random.default_rng(seed).gumbel(size=len(candidate))
        order = np.lexsort((self.candidate_log_prob[candidate] + noise, of_prompt))
        last = np.flatnonzero(np.append(np.diff(of_prompt[order]), 1))
        return [self.sets.texts[j] for j in candidate[order[last]]]

    def _asked(self, prompts: Sequence[str] | None, n: int) -> Sequence[str]:
        if prompts is None or len(prompts) != n:
            raise DataError(f"each prompt has candidates of its own: give a prompt for each of the {n} texts")
        return prompts

    def save(self, directory: str | Path) -> None:
        folder = Path(directory)
        with writing_folder(folder):
            arrays = {
                "log_base": self.log_base,
                "features": self.features,
                "theta": self.theta,
                "start": self.sets.start,
                "exposure": self.sets.exposure,
                **{name: getattr(self.embedding, name) for name in _EMBEDDING},
            }
            # safetensors writes the bytes of an array as they lie in memory.
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _ARRAYS)
            spec = self.embedding.embedder
            described = {
                "format": 1,
                "prompts": self.sets.prompts,
                "texts": self.sets.texts,
                "tune": self.tune,
                "embedder": dict(spec) if isinstance(spec, Mapping) else spec if isinstance(spec, str) else None,
                "embedder_fitted_on": list(self.embedding.fitted_on),
            }
            text = json.dumps(described, ensure_ascii=False, indent=1)
            (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
            name_backend(folder, "finite")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        folder = Path(directory)
        for name in (DESCRIPTION, _ARRAYS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} does not contain a policy over choice sets: {name} is missing")
        try:
            about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            arrays = load_file(folder / _ARRAYS)
            sets = ChoiceSets(tuple(about["prompts"]), tuple(about["texts"]), arrays["start"], arrays["exposure"])
            embedding = TextFeatures(
                about["embedder"], about["embedder_fitted_on"], **{name: arrays[name] for name in _EMBEDDING}
            )
            return cls(sets, arrays["log_base"], arrays["features"], arrays["theta"], embedding, about["tune"])
        except Exception as error:  # damaged files fail in more ways than there are kinds of errors
            reason = str(error) if isinstance(error, DataError) else one_line(error)
            raise ModelError(
                f"{folder} does not contain a policy that can be read: {reason}; save it again, or restore the files"
            ) from error


_EMBEDDING = ("varying", "center", "spread", "known")


def log_shown(sets: ChoiceSets) -> Float64:
    """Log of the share of its prompt's exposure that each candidate had, shape [N]; uniform if the prompt had none.

    These shares are the propensities of the logs, estimated without a model: ratios to them reproduce the means of
    candidates exactly (Hirano, Imbens and Ridder 2003). A candidate that was never shown beside others that were counts
    as half a share of the least shown one, since the policy may choose it.
    """
    exposure = sets.exposure.copy()
    shown = np.add.reduceat((exposure > 0).astype(np.float64), sets.start[:-1])[sets.segment] > 0
    least = np.minimum.reduceat(np.where(exposure > 0, exposure, np.inf), sets.start[:-1])[sets.segment]
    exposure = np.where(shown, np.where(exposure > 0, exposure, 0.5 * least), 1.0)
    return np.asarray(np.log(exposure / np.add.reduceat(exposure, sets.start[:-1])[sets.segment]))
