"""Base class of worlds that enumerate their texts and readers, so that all expectations are finite sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from causalopt.backends.contracts import Policy
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.doors import check_number
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.simulation.contracts import TrueValue
from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt
from causalopt.typing import Float64, Int64


class EnumeratedWorld(ABC):
    """k texts and r equally frequent reader types, with p(x | reader) and m(x, reader) known as tables.

    A world with C prompts has a *cell* for each pair of prompt and text, C * k in total, ordered by prompt; the prompt
    does not depend on the reader. Without prompts a cell is a text.

    Parameters
    ----------
    texts:
        k distinct texts.
    readers:
        Covariates of each reader type, r rows. Types that differ only in hidden variables have equal rows.
    log_assignment:
        log p(c, x | reader), shape [r, cells], nats.
    outcome_mean:
        m(c, x, reader), shape [r, cells], outcome units.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    settings:
        The world's name and dials, for `describe`; ``seed`` among them.
    prompts, log_prompt:
        C distinct prompts and their log-probabilities, shape [C], nats; None without prompts.

    Attributes
    ----------
    log_behavior:
        log q(c, x), the marginal distribution of the texts shown, shape [cells], nats.
    dose_response:
        g(c, x), shape [cells], outcome units.
    """

    def __init__(
        self,
        *,
        texts: Sequence[str],
        readers: pd.DataFrame,
        log_assignment: Float64,
        outcome_mean: Float64,
        noise: float,
        settings: Mapping[str, Any],
        prompts: Sequence[str] | None = None,
        log_prompt: Float64 | None = None,
    ) -> None:
        self.texts = list(texts)
        self.prompts = None if prompts is None else list(prompts)
        self.readers = readers
        self.noise = noise
        self.log_assignment = log_assignment
        self.outcome_mean = outcome_mean
        self.log_behavior: Float64 = logsumexp(log_assignment, axis=0) - np.log(len(readers))
        self.dose_response: Float64 = outcome_mean.mean(axis=0)
        self._log_prompt = np.zeros(1) if log_prompt is None else log_prompt
        self._settings = dict(settings)
        self._position = {text: i for i, text in enumerate(self.texts)}
        cumulative = np.cumsum(np.exp(log_assignment), axis=1)
        cumulative /= cumulative[:, -1:]
        # Row r of the table has values in [r, r + 1), so that one search in the flat table samples for all readers.
        self._cumulative = (cumulative + np.arange(len(readers))[:, None]).ravel()

    @abstractmethod
    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        """log p(c, x | w_i) for any readers, given the covariates of a data set, shape [n, cells], nats."""

    def describe(self) -> dict[str, Any]:
        """Return the world's name and every dial."""
        return dict(self._settings)

    def index_of(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Int64:
        """Cell of each text (with its prompt), shape [n]; an unknown text or prompt raises `DataError`."""
        try:
            index = np.array([self._position[text] for text in texts], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"the world has no text {error.args[0]!r}; `world.texts` lists those it has") from None
        if self.prompts is None:
            if prompts is not None:
                raise DataError("the world has no prompts; leave them out")
            return index
        if prompts is None or len(prompts) != len(texts):
            raise DataError("the world has prompts: give one for each text; `world.prompts` lists them")
        position = {prompt: i for i, prompt in enumerate(self.prompts)}
        try:
            prompt = np.array([position[prompt] for prompt in prompts], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"the world has no prompt {error.args[0]!r}; `world.prompts` lists those it has") from None
        return np.asarray(prompt * len(self.texts) + index, dtype=np.int64)

    def sample_indices(self, n: int, seed: int) -> tuple[Int64, Int64, Float64]:
        """Draw ``n`` rows: the positions of reader and cell, and the outcome, each of shape [n]."""
        if n < 1:
            raise ConfigError(f"a world draws at least one row, not {n}")
        rng = np.random.default_rng([self._settings["seed"], seed])
        cells = self.log_assignment.shape[1]
        reader = rng.integers(len(self.readers), size=n)
        flat = np.searchsorted(self._cumulative, reader + rng.random(n), side="right")
        cell = np.minimum(flat - reader * cells, cells - 1)
        outcome = self.outcome_mean[reader, cell] + self.noise * rng.standard_normal(n)
        return reader, cell, outcome

    def sample_frame(self, n: int, seed: int, *, logged: bool = False) -> pd.DataFrame:
        """Draw ``n`` rows as a table: ``prompt`` if there are prompts, ``text``, ``response`` and the covariates.

        With ``logged`` it also has the exact ``behavior_log_prob`` (log q(x | c)) and ``assignment_log_prob``
        (log p(x | c, w)), nats, like the log of a system that records the probabilities of the texts it shows.
        """
        reader, cell, outcome = self.sample_indices(n, seed)
        covariates = self.readers.iloc[reader].reset_index(drop=True)
        prompt, text = np.divmod(cell, len(self.texts))
        frame = pd.DataFrame({"text": [self.texts[i] for i in text], "response": outcome})
        if self.prompts is not None:
            frame.insert(0, "prompt", [self.prompts[i] for i in prompt])
        frame = pd.concat([frame, covariates], axis=1)
        if logged:
            frame["behavior_log_prob"] = self.log_behavior[cell] - self._log_prompt[prompt]
            frame["assignment_log_prob"] = self._log_assignment_of(cell, covariates) - self._log_prompt[prompt]
        return frame

    def sample(self, n: int, seed: int, *, logged: bool = False) -> DirectOutcomeDataset:
        """Draw ``n`` rows as a data set; see `sample_frame`."""
        return self.as_data_set(self.sample_frame(n, seed, logged=logged))

    def as_data_set(self, frame: pd.DataFrame) -> DirectOutcomeDataset:
        """Turn a drawn table into a data set, with the roles of its columns."""
        return DirectOutcomeDataset.from_frame(
            frame,
            source=f"{self._settings['name']} world",
            text="text",
            outcome="response",
            prompt=None if self.prompts is None else "prompt",
            observed="observed" if "observed" in frame else None,
            covariates=list(self.readers.columns),
            behavior_log_prob="behavior_log_prob" if "behavior_log_prob" in frame else None,
            assignment_log_prob="assignment_log_prob" if "assignment_log_prob" in frame else None,
        )

    def true_dose_response(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> Float64:
        return self.dose_response[self.index_of(texts, prompts)]

    def true_stabilized_weight(
        self, texts: Sequence[str], covariates: pd.DataFrame, prompts: Sequence[str] | None = None
    ) -> Float64:
        cell = self.index_of(texts, prompts)
        return np.asarray(np.exp(self.log_behavior[cell] - self._log_assignment_of(cell, covariates)))

    def true_value(self, policy: Policy) -> TrueValue:
        log_prob, mass = self._joint(policy)
        return TrueValue(value=self.value_of(log_prob), mass=mass)

    def value_of(self, log_prob: Float64) -> float:
        """Value of a distribution over the cells, given its normalised log-probabilities, [cells] or [C, k]."""
        return float(np.exp(log_prob).ravel() @ self.dose_response)

    def best_value(self, reference: Policy, kl: float) -> float:
        log_prob, _ = self._joint(reference)
        g = self.dose_response.reshape(log_prob.shape)
        return self.value_of(tilt(log_prob, g, temperature_at(log_prob, g, kl)))

    def kl(self, policy: Policy, reference: Policy) -> float:
        return max(kl_divergence(self._joint(policy)[0], self._joint(reference)[0]), 0.0)

    def _joint(self, policy: Policy) -> tuple[Float64, float]:
        """log P(c) + log f(x | c), normalised over the texts of each prompt, shape [C, k]; and f's mass on them.

        C is 1 without prompts.
        """
        prompts = None if self.prompts is None else [prompt for prompt in self.prompts for _ in self.texts]
        log_prob = np.asarray(policy.log_prob(prompts, self.texts * len(self._log_prompt)), dtype=np.float64)
        log_prob = log_prob.reshape(len(self._log_prompt), len(self.texts))
        log_mass = logsumexp(log_prob, axis=1)
        if not np.isfinite(log_mass).all():
            given = "" if self.prompts is None else f" given {self.prompts[int(np.argmin(np.isfinite(log_mass)))]!r}"
            raise ModelError(f"the policy gives no probability to any of the world's {len(self.texts)} texts{given}")
        joint = log_prob + (self._log_prompt - log_mass)[:, None]
        return joint, float(np.exp(logsumexp(self._log_prompt + log_mass)))

    def _log_assignment_of(self, cell: Int64, covariates: pd.DataFrame) -> Float64:
        """log p(c_i, x_i | w_i), shape [n]; each distinct reader's distribution is computed once."""
        names = list(self.readers.columns)
        missing = [name for name in names if name not in covariates.columns]
        if missing:
            raise DataError(f"the world's readers have a covariate {missing[0]!r} that the table lacks")
        if not names:
            return np.asarray(self.log_assignment_given(self.readers.iloc[:1])[0, cell], dtype=np.float64)
        reader = covariates[names].groupby(names, sort=False, observed=True).ngroup().to_numpy()
        _, first = np.unique(reader, return_index=True)
        return np.asarray(self.log_assignment_given(covariates[names].iloc[first])[reader, cell], dtype=np.float64)


def standardised(values: Float64) -> Float64:
    """Shift and scale to mean zero and standard deviation one."""
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float64)


def check_dial(world: str, name: str, value: float, low: float, high: float = np.inf) -> None:
    """Raise `ConfigError` unless ``low <= value <= high`` and finite."""
    check_number(f"{world} world: {name}", value)
    if not low <= value <= high:
        limit = f"between {low:g} and {high:g}"
        if high == np.inf:
            limit = "finite" if low == -np.inf else f"at least {low:g}"
        raise ConfigError(f"{world} world: {name} must be {limit}, not {value}")
