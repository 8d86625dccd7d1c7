"""A world of texts with known embeddings, for thousands of replications of an estimator's whole procedure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.doors import check_number, check_seed
from causalopt.errors import ConfigError, DataError
from causalopt.simulation.enumerated import EnumeratedWorld, check_dial
from causalopt.typing import Float32, Float64, Int64

MOST = 1_000_000
"""Largest number of texts, readers or dimensions, and largest dial; memory ends before."""

LEVEL = 5.0
"""Mean outcome around which the effects are centred, outcome units."""
TEXT_EFFECT = 0.6
"""Length of the vector of linear text effects, outcome units."""
FIRST_SHARE = 0.7
"""Share of that length along the first coordinate, on which readers are confounded with texts."""
READER_EFFECT = 1.5
"""Effect of one standard deviation of the confounder on the outcome, outcome units."""
PREFERENCE = 0.3
"""Length of the vector with which p0 is log-linear in the embedding."""


@dataclass(frozen=True)
class ArraySample:
    """Rows of a `FiniteWorld` as arrays.

    Attributes
    ----------
    text, reader:
        Positions in ``world.texts`` and ``world.readers``, shape [n].
    x, w, y:
        Embedding [n, d], covariates [n, p] and outcome [n].
    """

    text: Int64
    reader: Int64
    x: Float64
    w: Float64
    y: Float64


class FiniteWorld(EnumeratedWorld):
    """A few hundred texts with known embeddings phi(x), and readers with Gaussian covariates w.

    The first covariate is a confounder: with phi and w of mean zero and variance one in each coordinate,

        p(x | w) proportional to exp(u' phi(x) - confounding * w_1 * phi_1(x)),
        m(x, w) = 5 + b' phi(x) + nonlinear * (phi_1(x)^2 - 1) / sqrt(2) + heterogeneity * w_1 * phi_2(x)
                  + 1.5 * w_1 + 0.5 * (w_2 + ...),

    where b_1 > 0: readers with a large w_1 respond most, and are shown texts of small phi_1, which are the least
    effective. The readers are a finite population drawn once, so that q, s, g and V(f) are sums.

    Parameters
    ----------
    texts, dimensions:
        Number of texts, and the dimension d of their embeddings (at least 2).
    covariates, readers:
        Number of covariates (at least 1), and number of reader types.
    confounding:
        Strength of the confounding; 0 is a randomised experiment.
    nonlinear:
        Standard deviation of the part of the dose response that is not linear in the embedding, outcome units.
    heterogeneity:
        Standard deviation of the interaction of reader and text, outcome units.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    seed:
        Seed of texts, readers and effects.

    Raises
    ------
    ConfigError
        If a dial is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.simulation import FiniteWorld
    >>> world = FiniteWorld(texts=100, seed=0)
    >>> sample = world.sample_arrays(500, seed=1)
    >>> sample.x.shape, sample.w.shape, sample.y.shape
    ((500, 4), (500, 2), (500,))
    >>> policy = world.policy(np.array([1.0, 0.0, 0.0, 0.0]))
    >>> world.true_value(policy).value > world.true_value(world.policy(np.zeros(4))).value
    True
    """

    def __init__(
        self,
        *,
        texts: int = 300,
        dimensions: int = 4,
        covariates: int = 2,
        readers: int = 200,
        confounding: float = 0.7,
        nonlinear: float = 0.5,
        heterogeneity: float = 0.3,
        noise: float = 1.0,
        seed: int = 0,
    ) -> None:
        for name, value in (
            ("confounding", confounding),
            ("nonlinear", nonlinear),
            ("heterogeneity", heterogeneity),
            ("noise", noise),
        ):
            check_dial("finite", name, value, 0, MOST)
        counts = {"texts": texts, "dimensions": dimensions, "covariates": covariates, "readers": readers}
        for name, count in counts.items():
            check_number(f"finite world: {name}", count, least=1, most=MOST, whole=True)
        check_seed("finite world: seed", seed)
        if dimensions < 2 or covariates < 1 or min(texts, readers) <= dimensions + covariates:
            raise ConfigError(
                "finite world: needs dimensions of at least 2, covariates of at least 1, and more texts and readers "
                f"than both together, not dimensions={dimensions}, covariates={covariates}, texts={texts}, "
                f"readers={readers}"
            )
        rng = np.random.default_rng([seed, 0])
        self.embedding = _whitened(rng.standard_normal((texts, dimensions)))
        """phi, shape [k, d]: mean zero and identity covariance over the texts."""
        population = _whitened(rng.standard_normal((readers, covariates)))
        self._confounding = confounding
        self._log_base = self.embedding @ _direction(rng, dimensions, PREFERENCE)
        others = _direction(rng, dimensions - 1, 1.0)
        effect = TEXT_EFFECT * np.concatenate([[FIRST_SHARE], np.sqrt(1 - FIRST_SHARE**2) * others])
        confounder = population[:, 0]
        dose_response = LEVEL + self.embedding @ effect + nonlinear * (self.embedding[:, 0] ** 2 - 1) / np.sqrt(2)
        reader_effect = READER_EFFECT * confounder + 0.5 * population[:, 1:].sum(axis=1)
        width = len(str(texts - 1))
        super().__init__(
            texts=[f"text {i:0{width}d}" for i in range(texts)],
            readers=pd.DataFrame(population, columns=[f"w{j + 1}" for j in range(covariates)]),
            log_assignment=self._log_assignment(confounder),
            outcome_mean=(
                dose_response + reader_effect[:, None] + heterogeneity * np.outer(confounder, self.embedding[:, 1])
            ),
            noise=noise,
            settings={
                "name": "finite",
                "texts": texts,
                "dimensions": dimensions,
                "covariates": covariates,
                "readers": readers,
                "confounding": confounding,
                "nonlinear": nonlinear,
                "heterogeneity": heterogeneity,
                "noise": noise,
                "seed": seed,
            },
        )
        self._covariates = population

    def sample_arrays(self, n: int, seed: int) -> ArraySample:
        """Draw ``n`` rows as arrays: the same rows as `sample` with the same seed."""
        reader, text, outcome = self.sample_indices(n, seed)
        return ArraySample(text, reader, self.embedding[text], self._covariates[reader], outcome)

    def embedder(self) -> KnownEmbedder:
        """Return an embedder that looks the embeddings up."""
        return KnownEmbedder(dict(zip(self.texts, self.embedding.astype(np.float32), strict=True)))

    def policy(self, theta: Float64) -> FinitePolicy:
        """Return P(x) proportional to q(x) exp(theta' phi(x)); zeros give q, the distribution of the logged texts."""
        return FinitePolicy(self.texts, self.log_behavior, self.embedding, theta)

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        return self._log_assignment(covariates["w1"].to_numpy(dtype=np.float64))

    def _log_assignment(self, confounder: Float64) -> Float64:
        logits = self._log_base - self._confounding * np.outer(confounder, self.embedding[:, 0])
        return np.asarray(logits - logsumexp(logits, axis=1, keepdims=True), dtype=np.float64)


class KnownEmbedder:
    """An embedder that looks up the embedding of a known text; any other text raises `DataError`."""

    def __init__(self, vectors: dict[str, Float32]) -> None:
        self._vectors = vectors

    def fit(self, texts: Sequence[str]) -> Self:
        return self

    def transform(self, texts: Sequence[str]) -> Float32:
        try:
            return np.stack([self._vectors[text] for text in texts])
        except KeyError as error:
            raise DataError(f"the world has no text {error.args[0]!r}") from None


def _whitened(values: Float64) -> Float64:
    """Map rows linearly to mean zero and identity covariance; the first column keeps its order."""
    centered = values - values.mean(axis=0)
    factor = np.linalg.cholesky(centered.T @ centered / len(centered))
    return np.asarray(np.linalg.solve(factor, centered.T).T, dtype=np.float64)


def _direction(rng: np.random.Generator, dimensions: int, length: float) -> Float64:
    direction = rng.standard_normal(dimensions)
    return np.asarray(length * direction / np.linalg.norm(direction), dtype=np.float64)
