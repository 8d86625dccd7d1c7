"""Any scikit-learn classifier as an observation model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from causalopt.errors import ConfigError
from causalopt.nuisance.outcome.sklearn import SklearnOutcome, build_estimator
from causalopt.typing import Array, Float64


class SklearnObservation(BaseEstimator):  # type: ignore[misc]
    """p(observed | x, w) from a scikit-learn classifier on the columns of x and w together.

    Parameters
    ----------
    estimator, settings, seed:
        As in `causalopt.nuisance.outcome.sklearn.SklearnOutcome`; the estimator must have ``predict_proba``.

    Raises
    ------
    ConfigError
        If there is no such class, or it is not a classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.observation.sklearn import SklearnObservation
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(500, 2)), rng.normal(size=(500, 1))
    >>> observed = rng.random(500) < 1 / (1 + np.exp(-w[:, 0]))
    >>> model = SklearnObservation("sklearn.linear_model.LogisticRegression").fit(x, w, observed, np.ones(500))
    >>> bool(model.probability(np.zeros((1, 2)), np.array([[2.0]]))[0] > 0.75)
    True
    """

    def __init__(self, estimator: Any, settings: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.estimator = estimator
        self.settings = settings
        self.seed = seed
        made = build_estimator(estimator, settings or {}, seed)  # so that a wrong name or setting is an error here
        if not hasattr(made, "predict_proba"):
            raise ConfigError(f"{type(made).__name__} has no predict_proba: an observation model is a classifier")

    def fit(self, x: Array, w: Array, observed: Array, weight: Float64) -> Self:
        # The probability that y is 1, for the outcome 1 where there is a response and 0 where there is none.
        self.model_ = SklearnOutcome(self.estimator, self.settings, seed=self.seed)
        self.model_.fit(x, w, np.asarray(observed, dtype=np.float64), weight)
        return self

    def probability(self, x: Array, w: Array) -> Float64:
        return self.model_.predict(x, w)
