"""Huber regression as an outcome model: linear in embedding and covariates, robust to outliers of the outcome."""

from __future__ import annotations

from typing import Self

import numpy as np
from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from causalopt.typing import Array, Float64


class HuberOutcome:
    """E[Y | x, w] by Huber's regression (Huber 1964).

    Parameters
    ----------
    epsilon:
        Residuals beyond this many scales count linearly rather than squared; 1 is the most robust.
    alpha:
        Ridge penalty.
    """

    def __init__(self, epsilon: float = 1.35, alpha: float = 1.0) -> None:
        self.epsilon = epsilon
        self.alpha = alpha

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        """Fit on rows; see `causalopt.nuisance.contracts.OutcomeModel`."""
        regressor = HuberRegressor(epsilon=self.epsilon, alpha=self.alpha, max_iter=1000)
        self.model_ = make_pipeline(StandardScaler(), regressor)
        self.model_.fit(np.hstack([x, w]), y, huberregressor__sample_weight=weight)
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        """E[Y | x_i, w_i], shape [n]."""
        return np.asarray(self.model_.predict(np.hstack([x, w])), dtype=np.float64)

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        """Average over the reference readers: exact at their mean, since the model is linear in w."""
        mean = np.average(w_reference, axis=0, weights=weight_reference)
        return self.predict(x, np.broadcast_to(mean, (len(x), w_reference.shape[1])))
