"""Real texts with simulated readers: the effects are functions of the texts' real embeddings."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from causalopt import plugins
from causalopt.data import files
from causalopt.embedding import Embedder, embed
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning
from causalopt.simulation.enumerated import EnumeratedWorld, check_dial, standardised
from causalopt.simulation.population import draw_readers
from causalopt.simulation.targeting import Targeting
from causalopt.typing import Float64

LEVEL = 5.0
"""Mean outcome around which the effects are centred, outcome units."""
TEXT_EFFECT = 0.6
"""Standard deviation of the effect that is linear in the embedding, outcome units."""
MOST_TEXTS = 10_000
"""Largest number of distinct texts: with more, the tables do not fit into memory."""


class SemiSyntheticWorld(EnumeratedWorld):
    """The distinct texts of any table, and simulated readers of them.

    phi(x) are the leading ``dimensions`` principal components of the texts' embedding, each of mean zero and variance
    one over the distinct texts. With directions u, v, t of length one drawn with the seed, a reader's engagement e
    (mean 0, standard deviation 1), age and region, and h(x) = u' phi(x),

        m(x, w) = 5 + 0.6 h(x) + nonlinear * N(x) + heterogeneity * e * v' phi(x)
                  + 2 e + (small effects of age and region),
        p(x | w) proportional to p0(x) exp(0.7 * confounding * e * a(x) + 1.2 * (1 - overlap) * age * b(x)),

    where N is cos(2 h) standardised, a is minus tanh(h) standardised (those who respond most are shown the least
    effective texts; it is bounded, so that the true weights are), and b is tanh(t' phi) standardised, without its part
    along a. p0 is the share of the table's rows that have the text. Only the texts of the table are used. All sums over
    texts and readers are exact, so the value is exact for any policy, conditional on these texts.

    Parameters
    ----------
    path:
        A table (.csv, .tsv, .jsonl, .parquet, or a folder that `datasets` saved).
    text:
        The column of texts. Rows without a text are left out, with a warning.
    texts:
        Number of distinct texts to keep, drawn with the seed; None keeps all of them, at most 10,000.
    embedder:
        A registered name, a mapping with a name and settings, or an object; fitted on the distinct texts.
    dimensions:
        Number of principal components of the embedding on which effects and assignment depend; at least 2.
    confounding:
        0 is a randomised experiment (at overlap 1); at 1 naive effects have the wrong sign.
    overlap:
        In (0, 1]: at 1, age does not affect which text is shown; smaller values give more extreme weights.
    noise:
        Standard deviation of an outcome about its mean, outcome units.
    heterogeneity:
        Standard deviation of the interaction of engagement and text, outcome units.
    nonlinear:
        Standard deviation of the part of the dose response that is not linear in the embedding, outcome units.
    unmeasured:
        Share of the variance of engagement that is hidden from the data set, in [0, 1].
    readers:
        Number of reader types.
    seed:
        Seed of readers and effects.

    Attributes
    ----------
    embedding:
        phi, shape [k, dimensions].

    Raises
    ------
    ConfigError
        If a dial is out of its range.
    DataError
        If the table cannot be read, has too few or too many texts, or all its texts have the same embedding.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from causalopt.simulation import SemiSyntheticWorld
    >>> table = tempfile.mkdtemp() + "/letters.csv"
    >>> lines = [f"{a} {b} {c}" for a in ("please", "do") for b in ("give", "join", "act") for c in ("now", "soon")]
    >>> pd.DataFrame({"letter": lines}).to_csv(table)
    >>> world = SemiSyntheticWorld(path=table, text="letter", dimensions=2, seed=0)
    >>> len(world.texts), len(world.sample(100, seed=1))
    (12, 100)
    """

    def __init__(
        self,
        *,
        path: str | Path,
        text: str = "text",
        texts: int | None = None,
        embedder: str | Mapping[str, Any] | Embedder = "tfidf-svd",
        dimensions: int = 8,
        confounding: float = 1.0,
        overlap: float = 1.0,
        noise: float = 1.0,
        heterogeneity: float = 0.2,
        nonlinear: float = 0.2,
        unmeasured: float = 0.0,
        readers: int = 200,
        seed: int = 0,
    ) -> None:
        for name, value, low, high in (
            ("dimensions", dimensions, 2, np.inf),
            ("confounding", confounding, 0, np.inf),
            ("overlap", overlap, 0.05, 1),
            ("noise", noise, 0, np.inf),
            ("heterogeneity", heterogeneity, 0, np.inf),
            ("nonlinear", nonlinear, 0, np.inf),
            ("unmeasured", unmeasured, 0, 1),
            ("readers", readers, 2, np.inf),
        ):
            check_dial("semi-synthetic", name, value, low, high)
        rng = np.random.default_rng([seed, 0])
        counts = _distinct_texts(Path(path), text, texts, rng)
        distinct = list(counts.index)
        self.embedding = _principal_components(plugins.embedders.create(embedder), distinct, dimensions, str(path))
        u, v, t = (self.embedding @ _direction(rng, dimensions) for _ in range(3))
        share = counts.to_numpy(dtype=np.float64) / counts.sum()
        score, taste = -standardised(np.tanh(u)), np.tanh(t)
        taste = standardised(taste - (taste @ score) / len(taste) * score)
        self._targeting = Targeting(np.log(share), score, taste, confounding, overlap)
        self._population = draw_readers(readers, unmeasured, rng)
        engagement = self._population.engagement
        super().__init__(
            texts=distinct,
            readers=self._population.shown,
            log_assignment=self._targeting.of(self._population),
            outcome_mean=(
                LEVEL
                + TEXT_EFFECT * u
                + nonlinear * standardised(np.cos(2 * u))
                + self._population.effect[:, None]
                + heterogeneity * np.outer(engagement, v)
            ),
            noise=noise,
            settings={
                "name": "semi-synthetic",
                "path": str(path),
                "text": text,
                "texts": texts,
                "embedder": embedder if isinstance(embedder, str | Mapping) else type(embedder).__name__,
                "dimensions": dimensions,
                "confounding": confounding,
                "overlap": overlap,
                "noise": noise,
                "heterogeneity": heterogeneity,
                "nonlinear": nonlinear,
                "unmeasured": unmeasured,
                "readers": readers,
                "seed": seed,
            },
        )

    def log_assignment_given(self, covariates: pd.DataFrame) -> Float64:
        return self._targeting.given(covariates, self._population)


def _distinct_texts(path: Path, column: str, most: int | None, rng: np.random.Generator) -> pd.Series:
    """Count the rows of each distinct text, in the order of first appearance."""
    table = files.read_table(path)
    if column not in table:
        raise DataError(f"{path}: has no column {column!r}; it has: {', '.join(map(str, table.columns))}")
    texts = table[column]
    blank = texts.isna() | (texts.astype(str).str.strip() == "")
    if blank.any():
        message = f"{path}: {int(blank.sum())} of {len(table)} rows left out, which have no {column}"
        warnings.warn(message, DroppedRowsWarning, stacklevel=4)
    counts = texts[~blank].astype(str).value_counts(sort=False)
    if most is not None and most < 3:
        raise ConfigError(f"semi-synthetic world: texts must be at least 3, not {most}")
    if most is not None and most < len(counts):
        counts = counts.iloc[np.sort(rng.choice(len(counts), most, replace=False))]
    if not 3 <= len(counts) <= MOST_TEXTS:
        raise DataError(
            f"{path}: has {len(counts)} distinct texts; a world needs at least 3 and at most {MOST_TEXTS} "
            "(its setting 'texts' keeps that many)"
        )
    return counts


def _principal_components(embedder: Embedder, texts: list[str], dimensions: int, source: str) -> Float64:
    """Leading components, each with mean zero and variance one over the texts, shape [k, dimensions]."""
    vectors = embed(copy.copy(embedder).fit(texts), None, texts).astype(np.float64)
    left, spread, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    rank = int((spread > 1e-6 * spread[0]).sum()) if spread[0] > 0 else 0
    if rank < dimensions:
        raise DataError(f"{source}: the embedding of its texts has {rank} dimensions; lower the world's dimensions")
    chosen = left[:, :dimensions]
    # The sign of a singular vector is arbitrary; here its largest entry is made positive.
    sign = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(dimensions)])
    return np.asarray(np.sqrt(len(texts)) * sign * chosen, dtype=np.float64)


def _direction(rng: np.random.Generator, dimensions: int) -> Float64:
    direction = rng.standard_normal(dimensions)
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float64)
