"""A distribution over known texts, log-linear in their embedding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from causalopt.errors import DataError, ModelError
from causalopt.typing import Float64, Int64

_DESCRIPTION = "finite_policy.json"
_ARRAYS = "finite_policy.safetensors"


class FinitePolicy:
    """P(x) proportional to base(x) exp(theta' phi(x)) over a list of candidate texts.

    Parameters
    ----------
    candidates:
        k distinct texts.
    log_base:
        log base(x), shape [k], up to a constant.
    features:
        phi(x), shape [k, d].
    theta:
        Shape [d]; zeros give the base.

    Raises
    ------
    DataError
        When a candidate is repeated, or the shapes do not match.

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

    def __init__(self, candidates: Sequence[str], log_base: Float64, features: Float64, theta: Float64) -> None:
        k = len(candidates)
        if log_base.shape != (k,) or features.shape != (k, theta.size) or theta.ndim != 1:
            raise DataError(
                f"{k} candidates need log_base [{k}], features [{k}, d] and theta [d], "
                f"not {log_base.shape}, {features.shape} and {theta.shape}"
            )
        self.candidates = list(candidates)
        self._position: dict[str, int] = {}
        for i, text in enumerate(self.candidates):
            if self._position.setdefault(text, i) != i:
                raise DataError(f"candidate {text!r} is listed twice, at positions {self._position[text]} and {i}")
        self.log_base = np.asarray(log_base, dtype=np.float64)
        self.features = np.asarray(features, dtype=np.float64)
        self.theta = np.asarray(theta, dtype=np.float64)
        self.candidate_log_prob: Float64 = log_softmax(self.log_base + self.features @ self.theta)
        """log P of every candidate, shape [k], nats."""

    @property
    def probability(self) -> Float64:
        """P of every candidate, shape [k]."""
        return np.asarray(np.exp(self.candidate_log_prob))

    def with_theta(self, theta: Float64) -> FinitePolicy:
        """Return the same base and features under other coefficients."""
        return FinitePolicy(self.candidates, self.log_base, self.features, theta)

    def index_of(self, texts: Sequence[str]) -> Int64:
        """Position of each text among the candidates, shape [n]; any other text raises `DataError`."""
        try:
            return np.array([self._position[text] for text in texts], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                f"the text {error.args[0]!r} is not among the {len(self.candidates)} candidates of the finite policy; "
                "add it to backend.candidates"
            ) from None

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        refuse_prompts(prompts)
        return self.candidate_log_prob[self.index_of(texts)]

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        refuse_prompts(prompts)
        drawn = np.random.default_rng(seed).choice(len(self.candidates), size=n, p=self.probability)
        return [self.candidates[i] for i in drawn]

    def save(self, directory: str | Path) -> None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {"log_base": self.log_base, "features": np.ascontiguousarray(self.features), "theta": self.theta},
            folder / _ARRAYS,
        )
        # Last, because a folder that holds it is taken for a whole policy.
        text = json.dumps({"format": 1, "candidates": self.candidates}, ensure_ascii=False, indent=1)
        (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        folder = Path(directory)
        for name in (_DESCRIPTION, _ARRAYS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} holds no finite policy: {name} is missing")
        try:
            candidates = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))["candidates"]
            arrays = load_file(folder / _ARRAYS)
            return cls(candidates, arrays["log_base"], arrays["features"], arrays["theta"])
        except (ValueError, KeyError, OSError, SafetensorError, DataError) as error:
            raise ModelError(f"{folder} holds no finite policy that can be read: {error}") from error


def refuse_prompts(prompts: Sequence[str] | None) -> None:
    """Raise `DataError` when there are prompts."""
    if prompts is not None:
        raise DataError(
            "the finite backend chooses among fixed texts and cannot answer prompts: "
            "leave out data.prompt, or take the backend 'huggingface'"
        )
