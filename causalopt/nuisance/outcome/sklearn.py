"""Any scikit-learn regressor or classifier as an outcome model."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from lightgbm.basic import LightGBMError
from sklearn.base import BaseEstimator, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.outcome.averaging import READERS, all_pairs, mean_of_pairs
from causalopt.nuisance.outcome.tree_averages import LeafSum
from causalopt.typing import Array, Float64

LIBRARIES = ("sklearn.", "lightgbm.")


class SklearnOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] from a scikit-learn estimator on the columns of x and w together.

    A classifier is used for a binary outcome; its prediction is the probability (times the distance between the two
    values), never the class. The average over readers is taken over a sample of them, whose error is estimated.

    Parameters
    ----------
    estimator:
        An estimator, which is copied; or the path of a class in scikit-learn or LightGBM, such as
        ``"sklearn.ensemble.RandomForestRegressor"``.
    settings:
        Keyword arguments of that class.
    readers:
        Number of readers in a sampled average; exact if there are at most this many distinct ones.
    seed:
        Seed of that sample, and the ``random_state`` of an estimator that has one and does not set it.

    Raises
    ------
    ConfigError
        If there is no such class, it does not predict, or it takes no weights although rows have different ones.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.sklearn import SklearnOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(200, 2)), rng.normal(size=(200, 1))
    >>> y = (x[:, 0] + w[:, 0] > 0).astype(float)
    >>> model = SklearnOutcome("sklearn.linear_model.LogisticRegression").fit(x, w, y, np.ones(200))
    >>> p = model.predict(np.array([[0.0, 0.0]]), np.array([[0.0]]))
    >>> bool(0.3 < p[0] < 0.7)
    True
    """

    def __init__(
        self, estimator: Any, settings: Mapping[str, Any] | None = None, readers: int = READERS, seed: int = 0
    ) -> None:
        self.estimator = estimator
        self.settings = settings
        self.readers = readers
        self.seed = seed
        made = build_estimator(estimator, settings or {}, seed)  # so that a wrong name or setting is an error here
        if is_classifier(made) and not hasattr(made, "predict_proba"):
            raise ConfigError(f"{type(made).__name__} has no predict_proba: an outcome model needs E[Y]")

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        self.model_ = build_estimator(self.estimator, self.settings or {}, self.seed)
        target: Array = y
        if is_classifier(self.model_):
            self.values_ = np.unique(y)
            if len(self.values_) != 2:
                raise DataError(
                    f"{type(self.model_).__name__} is a classifier and needs a binary outcome; the {len(y)} training "
                    f"rows have {len(self.values_)} distinct values: use a regressor"
                )
            target = (y == self.values_[1]).astype(np.int64)
        weights = _weights(self.model_, weight)
        try:
            self.model_.fit(np.hstack([x, w]), target, **weights)
        except (ValueError, LightGBMError) as error:  # for example a negative count
            reason = " ".join(str(error).split())
            name = type(self.model_).__name__
            raise DataError(f"{name} cannot be fitted on these {len(y)} rows: {reason}") from None
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        features = np.hstack([x, w])
        if is_classifier(self.model_):
            low, high = self.values_
            return np.asarray(low + (high - low) * self.model_.predict_proba(features)[:, 1], dtype=np.float64)
        return np.asarray(self.model_.predict(features), dtype=np.float64).reshape(len(features))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return self.marginal_with_error(x, w_reference, weight_reference)[0]

    def marginal_with_error(self, x: Array, w_reference: Array, weight_reference: Float64) -> tuple[Float64, Float64]:
        """Mean over a sample of readers and its Monte Carlo standard error, shape [n] each."""
        leaves = LeafSum.of_regressor(self.model_, x.shape[1])
        pairs = partial(all_pairs, self.predict) if leaves is None else leaves.pairs
        return mean_of_pairs(pairs, x, w_reference, weight_reference, readers=self.readers, seed=self.seed)


def build_estimator(estimator: Any, settings: Mapping[str, Any], seed: int) -> Any:
    """Return a copy of an estimator, or a new one of a class in scikit-learn or LightGBM; errors as above."""
    if isinstance(estimator, str):
        if not estimator.startswith(LIBRARIES):
            raise ConfigError(f"estimator {estimator!r} must be the path of a class in scikit-learn or LightGBM")
        module, _, name = estimator.rpartition(".")
        try:
            factory = getattr(importlib.import_module(module), name)
            estimator = factory(**settings)
        except (ImportError, AttributeError):
            raise ConfigError(f"there is no estimator {estimator!r}") from None
        except TypeError as error:
            raise ConfigError(f"{estimator}: {error}") from None
    elif settings:
        raise ConfigError("settings go with the name of a class; an estimator that is passed has its own")
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
        raise ConfigError(f"{type(estimator).__name__} has no fit and predict")
    # A deep copy, not a clone: objects that are not scikit-learn estimators are accepted as well.
    estimator = copy.deepcopy(estimator)
    if hasattr(estimator, "get_params"):
        open_seeds = {key: seed for key, value in estimator.get_params().items()
                      if key.rpartition("__")[2] == "random_state" and value is None}  # fmt: skip
        estimator.set_params(**open_seeds)
    return estimator


def _weights(model: Any, weight: Float64) -> dict[str, Float64]:
    """Keyword under which the model takes weights; an error if it would ignore them."""
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        if has_fit_parameter(last, "sample_weight"):
            return {f"{name}__sample_weight": weight}
    elif has_fit_parameter(model, "sample_weight"):
        return {"sample_weight": weight}
    if np.ptp(weight) > 0:
        raise ConfigError(f"{type(model).__name__} takes no sample_weight, and the rows have different weights")
    return {}
