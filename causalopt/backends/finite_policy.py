"""A distribution over known texts, log-linear in their embedding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from causalopt.backends.contracts import Policy
from causalopt.backends.saved import name_backend
from causalopt.errors import DataError, ModelError, one_line
from causalopt.output import writing_folder
from causalopt.typing import Float64, Int64

_DESCRIPTION = "finite_policy.json"
_ARRAYS = "finite_policy.safetensors"


class FinitePolicy:
    """P(x | c) proportional to base(c, x) exp(theta' phi(c, x)) over a list of candidate texts.

    With C prompts the arrays have an entry for each pair of prompt and candidate, with all candidates of the first
    prompt first; without prompts C is 1.

    Parameters
    ----------
    candidates:
        k distinct texts.
    log_base:
        log base(c, x), shape [C k], up to a constant for each prompt.
    features:
        phi(c, x), shape [C k, d].
    theta:
        Shape [d]; zeros give the base.
    prompts:
        C distinct prompts, or None.

    Raises
    ------
    DataError
        If a candidate or a prompt is repeated, or the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.backends.finite_policy import FinitePolicy
    >>> policy = FinitePolicy(["Give now.", "Join us."], np.zeros(2), np.array([[1.0], [0.0]]), np.array([np.log(3)]))
    >>> policy.probability.round(2).tolist()
    [0.75, 0.25]
    >>> policy.sample(None, 3, seed=0)
    ['Give now.', 'Give now.', 'Give now.']
    """

    def __init__(
        self,
        candidates: Sequence[str],
        log_base: Float64,
        features: Float64,
        theta: Float64,
        prompts: Sequence[str] | None = None,
    ) -> None:
        k = len(candidates) * (1 if prompts is None else len(prompts))
        if log_base.shape != (k,) or features.shape != (k, theta.size) or theta.ndim != 1:
            given = "" if prompts is None else f" for {len(prompts)} prompts"
            raise DataError(
                f"{len(candidates)} candidates{given} need log_base [{k}], features [{k}, d] and theta [d], "
                f"not {log_base.shape}, {features.shape} and {theta.shape}"
            )
        self.candidates = list(candidates)
        self.prompts = None if prompts is None else list(prompts)
        self._position = _positions("candidate", self.candidates)
        self._prompt = _positions("prompt", self.prompts or [])
        self.log_base = np.asarray(log_base, dtype=np.float64)
        self.features = np.asarray(features, dtype=np.float64)
        self.theta = np.asarray(theta, dtype=np.float64)
        scores = (self.log_base + self.features @ self.theta).reshape(-1, len(self.candidates))
        self.candidate_log_prob: Float64 = log_softmax(scores, axis=1).ravel()
        """log P(x | c) of every candidate (given every prompt), shape [C k], nats."""

    @property
    def probability(self) -> Float64:
        """P(x | c) of every candidate (given every prompt), shape [C k]."""
        return np.asarray(np.exp(self.candidate_log_prob))

    @property
    def segment(self) -> Int64:
        """Position of the prompt of each candidate, shape [C k]; zeros without prompts."""
        return np.repeat(np.arange(len(self.log_base) // len(self.candidates)), len(self.candidates))

    def with_theta(self, theta: Float64) -> FinitePolicy:
        """Return the policy with the same base and features, and other coefficients."""
        return FinitePolicy(self.candidates, self.log_base, self.features, theta, self.prompts)

    def interpolated(self, reference: Policy, factor: float) -> FinitePolicy:
        """P(x | c) proportional to P0(x | c) (P1(x | c) / P0(x | c))^factor, of the reference P0 and this policy P1.

        Raises
        ------
        ModelError
            If the reference is not over the same texts with the same features.
        """
        if not (
            isinstance(reference, FinitePolicy)
            and (reference.candidates, reference.prompts) == (self.candidates, self.prompts)
            and np.array_equal(reference.features, self.features)
            and np.array_equal(reference.log_base, self.log_base)
        ):
            raise ModelError("a finite policy has a path only from a reference over the same texts and features")
        return self.with_theta(reference.theta + factor * (self.theta - reference.theta))

    def index_of(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Int64:
        """Position of each text (with its prompt) in `candidate_log_prob`, shape [n]; `DataError` for unknown texts."""
        try:
            text = np.array([self._position[text] for text in texts], dtype=np.int64)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"the text {error.args[0]!r} is not among the {len(self.candidates)} candidates of the finite policy; "
                "add it to backend.candidates"
            ) from None
        return self._prompt_of(prompts, len(texts)) * len(self.candidates) + text

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        return self.candidate_log_prob[self.index_of(texts, prompts)]

    def distribution(self, prompts: Sequence[str] | None) -> tuple[list[str], Float64]:
        log_prob = self.candidate_log_prob.reshape(-1, len(self.candidates))
        if prompts is None:
            self._prompt_of(None, 1)
            return self.candidates, log_prob[0]
        return self.candidates, log_prob[self._prompt_of(prompts, len(prompts))]

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        prompt = self._prompt_of(prompts, n)
        probability = self.probability.reshape(-1, len(self.candidates))
        drawn = np.empty(n, dtype=np.int64)
        for each in np.unique(prompt):
            rows = np.flatnonzero(prompt == each)
            drawn[rows] = rng.choice(len(self.candidates), size=len(rows), p=probability[each])
        return [self.candidates[i] for i in drawn]

    def _prompt_of(self, prompts: Sequence[str] | None, n: int) -> Int64:
        """Position of each row's prompt, shape [n]; zeros without prompts."""
        if self.prompts is None:
            if prompts is not None:
                raise DataError("the finite policy has no prompts and cannot answer prompts; leave them out")
            return np.zeros(n, dtype=np.int64)
        if prompts is None or len(prompts) != n:
            raise DataError(f"the finite policy answers prompts: give one for each of the {n} texts")
        try:
            return np.array([self._prompt[prompt] for prompt in prompts], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"the finite policy knows the {len(self.prompts)} prompts of its training rows, not "
                f"{error.args[0]!r}; use the backend 'huggingface' for prompts that were not logged"
            ) from None

    def save(self, directory: str | Path) -> None:
        folder = Path(directory)
        with writing_folder(folder):
            save_file(
                {"log_base": self.log_base, "features": np.ascontiguousarray(self.features), "theta": self.theta},
                folder / _ARRAYS,
            )
            described = {"format": 1, "candidates": self.candidates, "prompts": self.prompts}
            text = json.dumps(described, ensure_ascii=False, indent=1)
            (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")
            name_backend(folder, "finite")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        folder = Path(directory)
        for name in (_DESCRIPTION, _ARRAYS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} does not contain a finite policy: {name} is missing")
        try:
            described = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
            candidates, prompts = described["candidates"], described.get("prompts")
            if not all(isinstance(one, str) for listed in (candidates, prompts or []) for one in listed):
                raise TypeError("a candidate or a prompt is no string")
            arrays = load_file(folder / _ARRAYS)
            return cls(candidates, arrays["log_base"], arrays["features"], arrays["theta"], prompts)
        except Exception as error:  # damaged files fail in more ways than there are kinds of errors
            reason = str(error) if isinstance(error, DataError) else one_line(error)
            raise ModelError(
                f"{folder} does not contain a finite policy that can be read: {reason}; save it again, or restore the "
                "files"
            ) from error


def _positions(what: str, strings: Sequence[str]) -> dict[str, int]:
    position: dict[str, int] = {}
    for i, string in enumerate(strings):
        if position.setdefault(string, i) != i:
            raise DataError(f"{what} {string!r} is listed twice, at positions {position[string]} and {i}")
    return position
