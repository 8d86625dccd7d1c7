"""The density ratio of texts and readers from a classifier of real pairs against pairs reassigned at random."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Self

import lightgbm
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression

from causalopt.blocks import by_blocks
from causalopt.data.folds import inner_folds, text_ids
from causalopt.density_ratio import platt_scaling
from causalopt.doors import check_number
from causalopt.errors import CausalOptWarning
from causalopt.nuisance.assignment.gaussian import LARGEST, GaussianAssignment
from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.diagnostics import reassigned_pairs
from causalopt.nuisance.features import ReaderFeatures
from causalopt.typing import Array, Float64, Int64

INNER_FOLDS = 3
PENALTIES = (10.0, 1.0, 1e-1, 1e-2)
"""Penalties on the squared coefficients, per pair."""
LIGHTLY = 30.0
"""Factor on the Gaussian's log-odds, so that the penalty hardly affects their coefficient."""
MOST_PAIRS = 120_000
"""Largest number of pairs: of more than half as many rows, a random sample is used, and its ratio is of no less use."""
PATIENCE = 20
EVIDENCE = 2.0
"""Number of standard errors by which held-out loss must fall before any tree is kept."""


class ClassifierAssignment(BaseEstimator):  # type: ignore[misc]
    """s(x, w) = p(x) / p(x | w) from the odds that a pair (x, w) is real rather than randomly reassigned.

    Reassigned pairs keep both margins, so the log-odds of the optimal classifier are log p(x | w) - log p(x) (Menon and
    Ong 2016). Since the margins are equal, no single split of x or of w separates real pairs from reassigned ones, and
    boosted trees on (x, w) alone find nothing. Here the features are the products of whitened text coordinates and
    covariates, and the log-odds of a `GaussianAssignment` as a starting point. A logistic regression on these is fitted
    first, then trees on its residual, and then a logistic calibration of the held-out log-odds (Platt 1999), which
    shrinks them to zero if they carry no information. If an inner fold has fewer than two rows of positive weight,
    nothing can be reassigned: s = 1, with a `CausalOptWarning`.

    Parameters
    ----------
    coordinates:
        Number of leading principal coordinates of the text that are used.
    products:
        Largest number of products.
    permutations:
        Largest number of randomly reassigned pairs for each real one.
    rounds, learning_rate, leaves:
        Settings of the trees; the number of rounds is chosen by held-out loss.
    seed:
        Seed of the random pairs, the folds and the trees.
    gaussian:
        A `GaussianAssignment` fitted on the same rows, as the starting point; by default one is fitted.

    Attributes
    ----------
    gaussian_:
        The Gaussian model that it starts from.
    slope_:
        Slope of the calibration; 1 if the log-odds were already calibrated, 0 if the covariates carry no information
        about the text.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.assignment.classifier import ClassifierAssignment
    >>> rng = np.random.default_rng(0)
    >>> w = rng.choice([-1.0, 1.0], size=(1000, 1))
    >>> x = np.where(rng.random((1000, 1)) < 0.5 + 0.3 * w, 1.0, -1.0) + 0.001 * rng.normal(size=(1000, 1))
    >>> s = ClassifierAssignment().fit(x, w, np.ones(1000)).stabilized_weight(x, w)
    >>> bool(abs(np.mean(s[x[:, 0] * w[:, 0] > 0]) - 0.5 / 0.8) < 0.1)
    True
    """

    takes_float32 = True

    def __init__(
        self,
        coordinates: int = 32,
        products: int = 128,
        permutations: int = 4,
        rounds: int = 200,
        learning_rate: float = 0.05,
        leaves: int = 8,
        seed: int = 0,
        gaussian: GaussianAssignment | None = None,
    ) -> None:
        self.coordinates = coordinates
        self.products = products
        self.permutations = permutations
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.seed = seed
        self.gaussian = gaussian

    def fit(
        self, x: Array, w: Array, weight: Float64, text_id: Int64 | None = None, prompt_id: Int64 | None = None
    ) -> Self:
        check_number("classifier: coordinates", self.coordinates, least=1, whole=True)
        check_number("classifier: products", self.products, least=1, whole=True)
        check_number("classifier: permutations", self.permutations, least=1, whole=True)
        self.slope_ = 0.0
        text = text_ids(x, text_id)
        self.gaussian_ = self.gaussian or GaussianAssignment(seed=self.seed).fit(x, w, weight, text)
        if len(x) > MOST_PAIRS // 2:
            kept = np.sort(np.random.default_rng(self.seed).choice(len(x), MOST_PAIRS // 2, replace=False))
            x, w, weight, text = x[kept], w[kept], weight[kept], text[kept]
            prompt_id = None if prompt_id is None else prompt_id[kept]
        self.features_ = PairFeatures.of(x, w, weight, self.coordinates, self.products)
        fold = inner_folds(text, INNER_FOLDS, self.seed)
        if fold is None or self.features_.crossed == 0:
            return self
        labels = range(int(fold.max()) + 1)
        rng = np.random.default_rng(self.seed)
        rows = [np.flatnonzero((fold == k) & (weight > 0)) for k in labels]
        fewest = min(len(part) for part in rows)
        if fewest < 2:
            warnings.warn(
                f"assignment model classifier: the smallest of its {len(rows)} inner folds has {fewest} of the "
                f"{int((weight > 0).sum())} rows of positive weight, too few to reassign readers at random: every "
                "stabilized weight is taken as 1, which adjusts for nothing",
                CausalOptWarning,
                stacklevel=2,
            )
            return self
        pairs = [_Pairs.of(part, weight, self._permutations(len(x)), rng, prompt_id) for part in rows]
        # Each fold's first column is from a Gaussian fitted on the other folds, or the fit below would rely on it too
        # much.
        gaussians = [self.gaussian_.refitted(x[fold != k], w[fold != k], weight[fold != k]) for k in labels]
        z = [self._columns(g, x[p.text], w[p.reader]) for g, p in zip(gaussians, pairs, strict=True)]
        linear = self._fit_linear(z, pairs)
        trees = self._fit_trees(z, pairs, linear)
        self._calibrate(pairs, [one + other for one, other in zip(linear, trees, strict=True)])
        return self

    def stabilized_weight(self, x: Array, w: Array) -> Float64:
        return np.ones(len(x)) if self.slope_ == 0 or len(x) == 0 else by_blocks(self._weight, x, w)

    def _weight(self, x: Array, w: Array) -> Float64:
        z = self._columns(self.gaussian_, x, w)
        log_odds = self.linear_.decision_function(z)
        if self.booster_ is not None:
            log_odds = log_odds + self.booster_.predict(z, raw_score=True, num_threads=1)
        # The log-odds of a real pair are log p(x, w) / (p(x) p(w)) = -log s.
        return np.asarray(np.exp(-np.clip(self.intercept_ + self.slope_ * log_odds, -LARGEST, LARGEST)))

    def _columns(self, gaussian: GaussianAssignment, x: Array, w: Array) -> Float64:
        log_ratio = -np.log(gaussian.stabilized_weight(x, w))
        return np.column_stack([LIGHTLY * log_ratio, self.features_.matrix(x, w)])

    def _permutations(self, n: int) -> int:
        return max(1, min(self.permutations, MOST_PAIRS // n - 1))

    def _fit_linear(self, z: list[Float64], pairs: list[_Pairs]) -> list[Float64]:
        """Choose the penalty by held-out loss, fit on all pairs, and return the held-out log-odds of each fold.

        Penalties are decreased until the held-out loss rises; each fit starts from the previous one.
        """
        folds = range(len(pairs))
        rest = [[i for i in folds if i != k] for k in folds]
        models = [_logistic() for _ in folds]
        best, chosen, held_out = np.inf, PENALTIES[0], [np.zeros(len(part)) for part in z]
        for penalty in PENALTIES:
            for model, others in zip(models, rest, strict=True):
                _fit_logistic(model, penalty, [z[i] for i in others], [pairs[i] for i in others])
            scores = [model.decision_function(part) for model, part in zip(models, z, strict=True)]
            loss = _loss(scores, pairs)
            if loss >= best:
                break
            best, chosen, held_out = loss, penalty, scores
        self.linear_ = _fit_logistic(_logistic(), chosen, z, pairs)
        return held_out

    def _fit_trees(self, z: list[Float64], pairs: list[_Pairs], linear: list[Float64]) -> list[Float64]:
        """Fit trees on the residual of the logistic regression; return their held-out part of the log-odds."""
        sizes = [len(p.real) for p in pairs]
        bounds = np.cumsum([0, *sizes])
        everything = np.arange(bounds[-1])
        splits = []
        for k in range(len(pairs)):
            test = everything[bounds[k] : bounds[k + 1]]
            splits.append((np.setdiff1d(everything, test), test))
        parameters = self._parameters()
        weight = np.concatenate([p.weight for p in pairs])
        data = lightgbm.Dataset(
            np.concatenate(z),
            np.concatenate([p.real for p in pairs]),
            weight=weight / weight.mean(),
            init_score=np.concatenate(linear),
            params=parameters,
            free_raw_data=False,
        )
        found = lightgbm.cv(
            {**parameters, "metric": "binary_logloss"},
            data,
            num_boost_round=self.rounds,
            folds=splits,
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            return_cvbooster=True,
        )
        fitted = found["cvbooster"]
        rounds = fitted.best_iteration
        trees = [
            np.asarray(booster.predict(rows, raw_score=True, num_iteration=rounds, num_threads=1), dtype=np.float64)
            for booster, rows in zip(fitted.boosters, z, strict=True)
        ]
        if _gain(linear, trees, pairs) < EVIDENCE:
            self.booster_ = None
            return [np.zeros_like(part) for part in trees]
        self.booster_ = lightgbm.train(parameters, data, num_boost_round=rounds)
        return trees

    def _calibrate(self, pairs: list[_Pairs], log_odds: list[Float64]) -> None:
        real = np.concatenate([p.real for p in pairs])
        weight = np.concatenate([p.weight for p in pairs])
        self.slope_, self.intercept_ = platt_scaling(np.concatenate(log_odds), real, weight)

    def _parameters(self) -> dict[str, Any]:
        return {
            "objective": "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": 50,
            "max_bin": 63,
            "feature_fraction": 0.5,
            "lambda_l2": 1.0,
            "boost_from_average": False,
            "use_missing": False,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": self.seed,
            "verbosity": -1,
        }


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """Columns of a pair: whitened coordinates of the text, features of the reader, and products of the two."""

    coordinates: PrincipalCoordinates
    leading: int
    readers: ReaderFeatures
    crossed: int

    @classmethod
    def of(cls, x: Array, w: Array, weight: Float64, coordinates: int, products: int) -> Self:
        """Learn scales; ``coordinates`` and ``products`` are largest numbers."""
        found = PrincipalCoordinates.of(x, weight)
        readers = ReaderFeatures.candidates(w, weight)[-1]
        count = readers.transform(w[:1]).shape[1]
        leading = min(coordinates, len(found.variance))
        return cls(found, leading, readers, 0 if count == 0 else min(leading, max(products // count, 1)))

    def matrix(self, x: Array, w: Array) -> Float64:
        """Return the columns, shape [n, number of columns]."""
        u = self.coordinates.transform(x)[:, : self.leading]
        v = self.readers.transform(w)
        products = (u[:, : self.crossed, None] * v[:, None, :]).reshape(len(u), -1)
        return np.hstack([u, v, products])


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Real and reassigned pairs of one fold: positions of text and reader, if real, and weights."""

    text: Int64
    reader: Int64
    real: Float64
    weight: Float64

    @classmethod
    def of(
        cls, rows: Int64, weight: Float64, permutations: int, rng: np.random.Generator, prompt_id: Int64 | None
    ) -> Self:
        text, reader = reassigned_pairs(len(rows), rng, permutations, None if prompt_id is None else prompt_id[rows])
        together = weight[rows[text]] * weight[rows[reader]]
        return cls(
            np.concatenate([rows, rows[text]]),
            np.concatenate([rows, rows[reader]]),
            np.concatenate([np.ones(len(rows)), np.zeros(len(text))]),
            np.concatenate([weight[rows] / weight[rows].sum(), together / together.sum()]) * len(rows),
        )


def _logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)


def _fit_logistic(
    model: LogisticRegression, penalty: float, z: list[Float64], pairs: list[_Pairs]
) -> LogisticRegression:
    weight = np.concatenate([p.weight for p in pairs])
    model.set_params(C=1 / (penalty * float(weight.sum())))
    return model.fit(np.concatenate(z), np.concatenate([p.real for p in pairs]), sample_weight=weight)


def _losses(log_odds: Float64, pairs: _Pairs) -> Float64:
    return np.asarray(pairs.weight * np.logaddexp(0, np.where(pairs.real > 0, -log_odds, log_odds)))


def _loss(log_odds: list[Float64], pairs: list[_Pairs]) -> float:
    return sum(float(_losses(scores, p).sum()) for scores, p in zip(log_odds, pairs, strict=True))


def _gain(linear: list[Float64], trees: list[Float64], pairs: list[_Pairs]) -> float:
    """Return the decrease of held-out loss due to the trees, in standard errors over rows."""
    falls = []
    for before, more, p in zip(linear, trees, pairs, strict=True):
        falls.append(np.bincount(p.text, weights=_losses(before, p) - _losses(before + more, p))[np.unique(p.text)])
    fall = np.concatenate(falls)
    error = float(np.sqrt(np.sum((fall - fall.mean()) ** 2)))
    return float(fall.sum()) / error if error > 0 else 0.0
