"""An adapter that makes EconML's estimators outcome models."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import StratifiedKFold

from causalopt.data.folds import inner_folds, text_ids
from causalopt.errors import ConfigError, DataError
from causalopt.nuisance.assignment.arms import Arms
from causalopt.nuisance.coordinates import PrincipalCoordinates
from causalopt.nuisance.outcome.averaging import distinct_rows
from causalopt.typing import Array, Float64, Int64

MOST_ARMS = 50
ALPHAS = tuple(10.0 ** np.arange(-3.0, 5.0))


class EconMLOutcome(BaseEstimator):  # type: ignore[misc]
    """E[Y | x, w] from an estimator of EconML for the effect of a text on a reader.

    With the text as a vector treatment t(x) (leading principal coordinates of the embedding), `LinearDML`,
    `CausalForestDML` and `DML` with any final model give theta(w), and

        m(x, w) = E[Y | w] + theta(w)' (t(x) - E[t | w]),

    with both expectations from the estimator's own first stages. With texts coded into a few arms, `DRLearner` and
    `LinearDRLearner` give theta_a(w) relative to the first arm, and m(a, w) = E[Y | arm 0, w] + theta_a(w). Both are
    linear in the representation of the text, so that averages over readers and over texts are exact.

    Parameters
    ----------
    estimator:
        Name of a class in ``econml.dml`` or ``econml.dr``, or an estimator, which is copied. Its ``cv`` is replaced by
        folds of texts (of rows, for arms).
    settings:
        Keyword arguments of that class. By default, first stages and the final model are ridge regressions (and a
        logistic regression for the arms). A first stage for the treatment must accept a vector: wrap one that does not
        in ``sklearn.multioutput.MultiOutputRegressor``.
    dimensions:
        Largest number of coordinates in a vector treatment.
    folds, seed:
        Folds and seed of the estimator's own cross-fitting.

    Raises
    ------
    ConfigError
        If EconML is not installed or has no such estimator, or the estimator is not suitable for the treatment.
    DataError
        If a text at prediction is not among the arms of the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from causalopt.nuisance.outcome.econml import EconMLOutcome
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(400, 2)), rng.normal(size=(400, 1))
    >>> y = x[:, 0] * (1 + w[:, 0]) + w[:, 0] + 0.1 * rng.normal(size=400)
    >>> model = EconMLOutcome("LinearDML").fit(x, w, y, np.ones(400))
    >>> bool(np.mean((model.predict(x, w) - y) ** 2) < 0.1)
    True
    """

    def __init__(
        self,
        estimator: Any = "LinearDML",
        settings: Mapping[str, Any] | None = None,
        dimensions: int = 16,
        folds: int = 3,
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.settings = settings
        self.dimensions = dimensions
        self.folds = folds
        self.seed = seed
        _build(estimator, dict(settings or {}), seed)  # so that a wrong name or setting is an error here

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64, text_id: Int64 | None = None) -> Self:
        self.model_ = _build(self.estimator, dict(self.settings or {}), self.seed)
        self.takes_arms_ = isinstance(self.model_, _libraries()[1].DRLearner)
        # Without covariates a constant column is used: EconML's learners need at least one.
        readers = w if w.shape[1] else np.ones((len(w), 1))
        heterogeneous = w.shape[1] > 0
        if not heterogeneous and isinstance(self.model_, _libraries()[0].CausalForestDML):
            raise ConfigError("CausalForestDML lets effects differ between readers and needs covariates")
        self.heterogeneous_ = heterogeneous
        if self.takes_arms_:
            self.arms_ = Arms.of(x, MOST_ARMS)
            if self.arms_.count < 2:
                raise DataError("there is a single text: an EconML estimator has no arm to compare it with")
            treatment: Array = self.arms_.codes(x)
            self.model_.cv = _splits(_rows_folds(treatment, self.folds, self.seed))
        else:
            self.coordinates_ = PrincipalCoordinates.of(x, weight)
            treatment = self._treatment(x)
            fold = inner_folds(text_ids(x, text_id), self.folds, self.seed)
            if fold is None or treatment.shape[1] == 0:
                raise DataError("all rows have the same text: an EconML estimator has no treatment to learn from")
            self.model_.cv = _splits(fold)
        given = {"X": readers} if heterogeneous else {"X": None, "W": readers}
        self.model_.fit(y, treatment, **given, sample_weight=weight, inference=None)
        return self

    def predict(self, x: Array, w: Array) -> Float64:
        intercept, slope = self._reader_terms(w)
        return np.asarray(intercept + np.einsum("ij,ij->i", self._treatment(x), slope))

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        readers, share = distinct_rows(w_reference, weight_reference)
        intercept, slope = self._reader_terms(readers)
        mean_slope = np.average(slope, axis=0, weights=share)
        return np.asarray(np.average(intercept, weights=share) + self._treatment(x) @ mean_slope)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        """Mean over texts of m(x_j, w_i), exact, shape [n]."""
        intercept, slope = self._reader_terms(w)
        return np.asarray(intercept + slope @ self._treatment(x_draws).mean(axis=0))

    def _treatment(self, x: Array) -> Float64:
        """Return the representation of the text, shape [n, q]: coordinates, or indicators of all arms but the first."""
        if self.takes_arms_:
            return np.eye(self.arms_.count)[self.arms_.codes(x)][:, 1:]
        return self.coordinates_.transform(x)[:, : self.dimensions]

    def _reader_terms(self, w: Array) -> tuple[Float64, Float64]:
        """Return the part of m that depends on the reader alone [n], and the slopes on the treatment [n, q]."""
        readers = w if w.shape[1] else np.ones((len(w), 1))
        effect = self.model_.const_marginal_effect(readers if self.heterogeneous_ else None)
        slope = np.asarray(effect, dtype=np.float64).reshape(len(effect), -1)
        slope = np.broadcast_to(slope, (len(w), slope.shape[1]))
        if self.takes_arms_:
            first_arm = np.hstack([readers, np.zeros((len(w), self.arms_.count - 1))])
            return _mean_prediction(self.model_.models_regression, first_arm)[:, 0], slope
        outcome = _mean_prediction(self.model_.models_y, readers)[:, 0]
        treatment = _mean_prediction(self.model_.models_t, readers)
        return np.asarray(outcome - np.einsum("ij,ij->i", slope, treatment)), slope


def _build(estimator: Any, settings: dict[str, Any], seed: int) -> Any:
    dml, dr = _libraries()
    if isinstance(estimator, str):
        factory = getattr(dml, estimator, None) or getattr(dr, estimator, None)
        if factory is None or not isinstance(factory, type):
            raise ConfigError(f"EconML has no estimator {estimator!r} in econml.dml or econml.dr")
        defaults: dict[str, Any] = {"random_state": seed}
        if issubclass(factory, dr.DRLearner):
            defaults |= {"model_regression": _ridge(), "model_propensity": LogisticRegression(max_iter=1000)}
        else:
            defaults |= {"model_y": _ridge(), "model_t": _ridge()}
            if factory is dml.DML:
                defaults["model_final"] = RidgeCV(ALPHAS, fit_intercept=False)
        try:
            estimator = factory(**(defaults | settings))
        except TypeError as error:
            raise ConfigError(f"{estimator}: {error}") from None
    elif settings:
        raise ConfigError("settings go with the name of a class; an estimator that is passed has its own")
    if not isinstance(estimator, dml._rlearner._RLearner | dr.DRLearner):
        raise ConfigError(
            f"{type(estimator).__name__} is not among the supported EconML estimators: LinearDML, "
            "CausalForestDML, DML and their subclasses, DRLearner, LinearDRLearner"
        )
    return copy.deepcopy(estimator)


def _ridge() -> RidgeCV:
    return RidgeCV(ALPHAS)


def _libraries() -> tuple[Any, Any]:
    """Import EconML, which takes seconds, only if one of its estimators is named."""
    import econml.dml
    import econml.dr

    return econml.dml, econml.dr


def _rows_folds(codes: Int64, folds: int, seed: int) -> Int64:
    smallest = int(np.bincount(codes).min())
    if smallest < folds:
        raise DataError(f"an arm has {smallest} training rows, which is fewer than the {folds} folds of its estimator")
    fold = np.empty(len(codes), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(codes, codes)):
        fold[held_out] = k
    return fold


def _splits(fold: Int64) -> list[tuple[Int64, Int64]]:
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(int(fold.max()) + 1)]


def _mean_prediction(models: Any, features: Array) -> Float64:
    """Mean of the first stages over the estimator's own folds, shape [n, k]."""
    predictions = [np.asarray(m.predict(features)).reshape(len(features), -1) for fold in models for m in fold]
    return np.asarray(np.mean(predictions, axis=0), dtype=np.float64)
