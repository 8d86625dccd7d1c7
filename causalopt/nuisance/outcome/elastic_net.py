"""Elastic net as an outcome model: a sparse regression on the embedding's own coordinates."""

from __future__ import annotations

import warnings
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNetCV

from causalopt.data.folds import inner_folds, text_ids
from causalopt.nuisance.coordinates import standardization
from causalopt.typing import Array, Float64, Int64

INNER_FOLDS = 5
MIXES = (0.1, 0.5, 0.9, 1.0)
READER_PENALTY = 1e-4


class ElasticNetOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] additive in text and reader, with an elastic net on the text (Zou and Hastie 2005).

    Meant for coordinates that are each interpretable, such as coded attributes, if only a few matter. The covariates
    are partialled out beforehand (Frisch and Waugh 1933), so that no penalty can drop a confounder. The L1 ratio and
    the penalty are chosen by held-out loss over folds of texts.

    Parameters
    ----------
    seed:
        Seed of the assignment of texts to inner folds.

    Attributes
    ----------
    text_, reader_:
        Coefficients of the raw coordinates, outcome units per unit, shape [d] and [p].

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.elastic_net import ElasticNetOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(300, 10)), rng.normal(size=(300, 1))
    >>> y = 2 * x[:, 0] + w[:, 0] + 0.1 * rng.normal(size=300)
    >>> model = ElasticNetOutcome().fit(x, w, y, np.ones(300))
    >>> np.flatnonzero(np.abs(model.text_) > 0.05), model.reader_.round(1)
    (array([0]), array([1.]))
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        x, w = np.asarray(x, dtype=np.float64), np.asarray(w, dtype=np.float64)
        mean_w, scale_w = standardization(w, weight)
        v = (w - mean_w) / scale_w
        target, on_reader = _residual(y[:, None], v, weight)
        rest, text_on_reader = _residual(x, v, weight)
        _, scale_x = standardization(rest, weight)
        fold = inner_folds(text_ids(x, text_id), INNER_FOLDS, self.seed)
        if fold is None or np.isinf(scale_x).all() or not np.any(target):
            self.text_ = np.zeros(x.shape[1])
        else:
            splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(int(fold.max()) + 1)]
            net = ElasticNetCV(l1_ratio=list(MIXES), cv=splits, max_iter=5000, n_jobs=1, fit_intercept=True)
            with warnings.catch_warnings():
                # The smallest penalties of the path may not converge; held-out loss does not select them.
                warnings.simplefilter("ignore", ConvergenceWarning)
                spread = float(np.std(target))
                net.fit(rest / scale_x, target[:, 0] / spread, sample_weight=weight)
            self.text_ = spread * net.coef_ / scale_x
        self.reader_ = (on_reader[1:, 0] - text_on_reader[1:] @ self.text_) / scale_w
        share = weight / weight.sum()
        self.intercept_ = float(share @ (y - x @ self.text_ - w @ self.reader_))
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        return np.asarray(self.intercept_ + x @ self.text_ + w @ self.reader_, dtype=np.float64)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        reader = float(np.average(w_reference @ self.reader_, weights=weight_reference))
        return np.asarray(self.intercept_ + x @ self.text_ + reader, dtype=np.float64)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        return np.asarray(self.intercept_ + float(np.mean(x_draws @ self.text_)) + w @ self.reader_)


def _residual(values: Float64, v: Float64, weight: Float64) -> tuple[Float64, Float64]:
    """Residuals [n, k] of the columns after regression on v, and the coefficients [1 + p, k], constant first."""
    constant = np.column_stack([np.ones(len(v)), v])
    weighted = constant * weight[:, None]
    added = np.full(constant.shape[1], READER_PENALTY * weight.sum())
    added[0] = 0
    coefficients = np.linalg.solve(weighted.T @ constant + np.diag(added), weighted.T @ values)
    return values - constant @ coefficients, coefficients
