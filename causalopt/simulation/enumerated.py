"""What every world has that lists its texts and its readers: all expectations are finite sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from causalopt.backends.contracts import Policy
from causalopt.dataset import DirectOutcomeDataset
from causalopt.errors import ConfigError, DataError, ModelError
from causalopt.simulation.contracts import TrueValue
from causalopt.simulation.tilting import kl_divergence, temperature_at, tilt
from causalopt.typing import Float64, Int64


class EnumeratedWorld(ABC):
    """k texts and r equally frequent reader types, with p(x | reader) and m(x, reader) known as tables.

    Parameters
    ----------
    texts:
        k distinct texts.
    readers:
        Covariates of each reader type, r rows. Types that differ only in what is hidden have equal rows.
    log_assignment:
        log p(x | reader), shape [r, k], nats.
    outcome_mean:
        m(x, reader), shape [r, k], outcome units.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    settings:
        The world's name and dials, for `describe`; ``seed`` among them.

    Attributes
    ----------
    log_behavior:
        log q(x), the marginal distribution of the texts that are shown, shape [k], nats.
    dose_response:
        g(x), shape [k], outcome units.
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
    ) -> None:
        self.texts = list(texts)
        self.readers = readers
        self.noise = noise
        self.log_assignment = log_assignment
        self.outcome_mean = outcome_mean
        self.log_behavior: Float64 = logsumexp(log_assignment, axis=0) - np.log(len(readers))
        self.dose_response: Float64 = outcome_mean.mean(axis=0)
        self._settings = dict(settings)
        self._position = {text: i for i, text in enumerate(self.texts)}
        cumulative = np.cumsum(np.exp(log_assignment), axis=1)
        cumulative /= cumulative[:, -1:]
        # Row r of the table lies in [r, r + 1), so that one search in the flat table draws from every reader's row.
        self._cumulative = (cumulative + np.arange(len(readers))[:, None]).ravel()

    @abstractmethod
    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        """log p(x | w_i) for any readers, given the covariates that a data set shows, shape [n, k], nats."""

    def describe(self) -> dict[str, Any]:
        """Return the world's name and every dial."""
        return dict(self._settings)

    def index_of(self, texts: Sequence[str]) -> Int64:
        """Position of each text among ``self.texts``, shape [n]; an unknown text raises `DataError`."""
        try:
            return np.array([self._position[text] for text in texts], dtype=np.int64)
        except KeyError as error:
            raise DataError(f"the world has no text {error.args[0]!r}; `world.texts` lists those it has") from None

    def sample_indices(self, n: int, seed: int) -> tuple[Int64, Int64, Float64]:
        """Draw ``n`` rows as positions: of the reader, of the text, and the outcome, each of shape [n]."""
        if n < 1:
            raise ConfigError(f"a world draws at least one row, not {n}")
        rng = np.random.default_rng([self._settings["seed"], seed])
        reader = rng.integers(len(self.readers), size=n)
        flat = np.searchsorted(self._cumulative, reader + rng.random(n), side="right")
        text = np.minimum(flat - reader * len(self.texts), len(self.texts) - 1)
        outcome = self.outcome_mean[reader, text] + self.noise * rng.standard_normal(n)
        return reader, text, outcome

    def sample_frame(self, n: int, seed: int, *, logged: bool = False) -> pd.DataFrame:
        """Draw ``n`` rows as a table: ``text``, ``response`` and the covariates.

        With ``logged`` it also has the exact ``behavior_log_prob`` (log q) and ``assignment_log_prob`` (log p(x | w)),
        nats, as a system has that keeps the probabilities of what it shows.
        """
        reader, text, outcome = self.sample_indices(n, seed)
        covariates = self.readers.iloc[reader].reset_index(drop=True)
        frame = pd.DataFrame({"text": [self.texts[i] for i in text], "response": outcome})
        frame = pd.concat([frame, covariates], axis=1)
        if logged:
            frame["behavior_log_prob"] = self.log_behavior[text]
            frame["assignment_log_prob"] = self._log_assignment_of(text, covariates)
        return frame

    def sample(self, n: int, seed: int, *, logged: bool = False) -> DirectOutcomeDataset:
        """Draw ``n`` rows as a data set; see `sample_frame`."""
        return DirectOutcomeDataset.from_frame(
            self.sample_frame(n, seed, logged=logged),
            source=f"{self._settings['name']} world",
            text="text",
            outcome="response",
            covariates=list(self.readers.columns),
            behavior_log_prob="behavior_log_prob" if logged else None,
            assignment_log_prob="assignment_log_prob" if logged else None,
        )

    def true_dose_response(self, texts: Sequence[str]) -> Float64:
        return self.dose_response[self.index_of(texts)]

    def true_stabilized_weight(self, texts: Sequence[str], covariates: pd.DataFrame) -> Float64:
        index = self.index_of(texts)
        return np.asarray(np.exp(self.log_behavior[index] - self._log_assignment_of(index, covariates)))

    def true_value(self, policy: Policy) -> TrueValue:
        log_prob, log_mass = self._conditional(policy)
        return TrueValue(value=self.value_of(log_prob), mass=float(np.exp(log_mass)))

    def value_of(self, log_prob: Float64) -> float:
        """Value of a distribution over ``self.texts``, given its normalised log-probabilities [k]."""
        return float(np.exp(log_prob) @ self.dose_response)

    def best_value(self, reference: Policy, kl: float) -> float:
        log_prob, _ = self._conditional(reference)
        temperature = temperature_at(log_prob, self.dose_response, kl)
        return self.value_of(tilt(log_prob, self.dose_response, temperature))

    def kl(self, policy: Policy, reference: Policy) -> float:
        return max(kl_divergence(self._conditional(policy)[0], self._conditional(reference)[0]), 0.0)

    def _conditional(self, policy: Policy) -> tuple[Float64, float]:
        """Normalised log-probabilities of the world's texts [k], and the log of the mass they had."""
        log_prob = np.asarray(policy.log_prob(None, self.texts), dtype=np.float64)
        log_mass = float(logsumexp(log_prob))
        if not np.isfinite(log_mass):
            raise ModelError(f"the policy gives no probability to any of the world's {len(self.texts)} texts")
        return log_prob - log_mass, log_mass

    def _log_assignment_of(self, index: Int64, covariates: pd.DataFrame) -> Float64:
        """log p(x_i | w_i), shape [n]; each distinct reader's distribution is formed once."""
        missing = [name for name in self.readers.columns if name not in covariates.columns]
        if missing:
            raise DataError(f"the world's readers have a covariate {missing[0]!r} that the table lacks")
        columns = covariates[list(self.readers.columns)]
        reader = columns.groupby(list(columns.columns), sort=False, observed=True).ngroup().to_numpy()
        _, first = np.unique(reader, return_index=True)
        return np.asarray(self.log_assignment_given(columns.iloc[first])[reader, index], dtype=np.float64)


def check_dial(world: str, name: str, value: float, low: float, high: float = np.inf) -> None:
    """Raise `ConfigError` unless ``low <= value <= high`` and finite."""
    if not (np.isfinite(value) and low <= value <= high):
        limit = f"at least {low:g}" if high == np.inf else f"between {low:g} and {high:g}"
        raise ConfigError(f"{world} world: {name} must be {limit}, not {value}")
