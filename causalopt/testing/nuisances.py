"""Checks of outcome, assignment and observation models."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from causalopt.nuisance.contracts import AssignmentModel, ObservationModel, OutcomeModel
from causalopt.testing.laws import equal, sample
from causalopt.typing import Array, Float64

SHIFT = 100.0
"""Shift, in outcome units, of rows without weight: a fit that uses them is far off."""


def check_outcome_model(make: Callable[[], OutcomeModel], tolerance: float = 1e-6) -> None:
    """Check an outcome model against its contract (`causalopt.nuisance.contracts.OutcomeModel`).

    The check covers shapes, finite values, reproducible fits, a second fit that forgets the first, weights, data
    without covariates, and ``marginal`` as the mean of ``predict`` over readers.

    Parameters
    ----------
    make:
        Called without arguments, it returns a model that is not fitted.
    tolerance:
        Largest difference between ``marginal`` and the mean of ``predict``, outcome units; raise it for a model that
        samples readers.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.nuisance.outcome.ridge import RidgeOutcome
    >>> from causalopt.testing import check_outcome_model
    >>> check_outcome_model(RidgeOutcome)
    """
    data, other = sample(0), sample(1)
    model = make()
    assert isinstance(model, OutcomeModel), f"{_name(model)} lacks fit, predict or marginal"
    copy.deepcopy(model)
    assert model.fit(*data) is model, f"{_name(model)}.fit does not return the model itself"
    m = _vector(model, "predict", model.predict(data.x, data.w), len(data.x))
    again = make().fit(*data).predict(data.x, data.w)
    assert equal(m, again), f"{_name(model)}: two fits on the same rows differ; pass a seed"
    refitted = make().fit(*other).fit(*data).predict(data.x, data.w)
    assert equal(m, refitted), f"{_name(model)}: a second fit remembers the first"
    few = data.x[:7]
    g = _vector(model, "marginal", model.marginal(few, data.w, data.weight), 7)
    weighted = (1 + np.arange(len(data.w)) % 3).astype(np.float64)
    for weight, found in ((data.weight, g), (weighted, model.marginal(few, data.w, weighted))):
        means = [np.average(model.predict(np.tile(row, (len(data.w), 1)), data.w), weights=weight) for row in few]
        worst = float(np.abs(found - np.array(means)).max())
        assert worst <= tolerance, f"{_name(model)}.marginal is {worst:.3g} off the mean of predict over readers"
    used = (np.arange(len(data.y)) % 2).astype(np.float64)
    ignored = make().fit(data.x, data.w, data.y + SHIFT * (1 - used), used).predict(data.x, data.w)
    assert np.abs(ignored - m).mean() < SHIFT / 10, f"{_name(model)}: rows of weight zero affect the fit"
    none = sample(2, covariates=0)
    alone = make().fit(*none)
    _vector(alone, "predict", alone.predict(none.x, none.w), len(none.x))


def check_assignment_model(make: Callable[[], AssignmentModel]) -> None:
    """Check an assignment model against its contract (`causalopt.nuisance.contracts.AssignmentModel`).

    The check covers shapes, positive and finite weights, reproducible fits, a second fit that forgets the first, a mean
    near one, weights that are small if text and reader are associated, and rows without weight.

    Parameters
    ----------
    make:
        Called without arguments, it returns a model that is not fitted.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.nuisance.assignment.gaussian import GaussianAssignment
    >>> from causalopt.testing import check_assignment_model
    >>> check_assignment_model(GaussianAssignment)
    """
    data, other = sample(0, n=400), sample(1, n=400)
    model = make()
    assert isinstance(model, AssignmentModel), f"{_name(model)} lacks fit or stabilized_weight"
    copy.deepcopy(model)
    fitted = _fit(model, data.x, data.w, data.weight)
    assert fitted is model, f"{_name(model)}.fit does not return the model itself"
    s = _vector(model, "stabilized_weight", model.stabilized_weight(data.x, data.w), len(data.x))
    assert (s > 0).all(), f"{_name(model)}.stabilized_weight is not positive"
    again = _fit(make(), data.x, data.w, data.weight).stabilized_weight(data.x, data.w)
    assert equal(s, again), f"{_name(model)}: two fits on the same rows differ; pass a seed"
    refitted = _fit(_fit(make(), other.x, other.w, other.weight), data.x, data.w, data.weight)
    assert equal(s, refitted.stabilized_weight(data.x, data.w)), f"{_name(model)}: a second fit remembers the first"
    assert 0.5 < s.mean() < 2, f"{_name(model)}: the mean weight is {s.mean():.3g}, but E[s] = 1"
    together = data.x[:, 0] * data.w[:, 0]
    if np.ptp(s) > 0:
        correlation = float(np.corrcoef(np.log(s), together)[0, 1])
        assert correlation < 0, f"{_name(model)}: s = p(x) / p(x | w) must be small if text and reader are associated"
    used = (np.arange(len(data.y)) % 2).astype(np.float64)
    reversed_w = np.where(used[:, None] > 0, data.w, -data.w)
    kept = _fit(make(), data.x, reversed_w, used).stabilized_weight(data.x, data.w)
    if np.ptp(s) > 0 and np.ptp(kept) > 0:
        assert np.corrcoef(np.log(kept), np.log(s))[0, 1] > 0.5, f"{_name(model)}: rows of weight zero affect the fit"


def check_observation_model(make: Callable[[], ObservationModel]) -> None:
    """Check an observation model against its contract (`causalopt.nuisance.contracts.ObservationModel`).

    The check covers shapes, probabilities, reproducible fits, a second fit that forgets the first, a mean near the
    observed rate, rows without weight, and data without covariates.

    Parameters
    ----------
    make:
        Called without arguments, it returns a model that is not fitted.

    Raises
    ------
    AssertionError
        With the first fault found.

    Examples
    --------
    >>> from causalopt.nuisance.observation.logistic import LogisticObservation
    >>> from causalopt.testing import check_observation_model
    >>> check_observation_model(LogisticObservation)
    """
    data, other, none = sample(0, n=400), sample(1, n=400), sample(2, n=400, covariates=0)
    observed, elsewhere, alone = ((one.y > np.quantile(one.y, 0.7)).astype(np.float64) for one in (data, other, none))
    model = make()
    assert isinstance(model, ObservationModel), f"{_name(model)} lacks fit or probability"
    copy.deepcopy(model)
    assert model.fit(data.x, data.w, observed, data.weight) is model, f"{_name(model)}.fit does not return the model"
    pi = _probability(model, data.x, data.w)
    again = make().fit(data.x, data.w, observed, data.weight).probability(data.x, data.w)
    assert equal(pi, again), f"{_name(model)}: two fits on the same rows differ; pass a seed"
    refitted = make().fit(other.x, other.w, elsewhere, other.weight).fit(data.x, data.w, observed, data.weight)
    assert equal(pi, refitted.probability(data.x, data.w)), f"{_name(model)}: a second fit remembers the first"
    mean, rate = float(np.average(pi, weights=data.weight)), float(np.average(observed, weights=data.weight))
    assert abs(mean - rate) < 0.1, f"{_name(model)}: the mean probability is {mean:.3g}, where the rate is {rate:.3g}"
    used = (np.arange(len(data.y)) % 2).astype(np.float64)
    kept = make().fit(data.x, data.w, np.where(used > 0, observed, 1.0), used).probability(data.x, data.w)
    counted = float(np.average(observed, weights=used))
    assert abs(kept.mean() - counted) < 0.15, f"{_name(model)}: rows of weight zero affect the fit"
    _probability(make().fit(none.x, none.w, alone, none.weight), none.x, none.w)


def _probability(model: ObservationModel, x: Array, w: Array) -> Float64:
    pi = _vector(model, "probability", model.probability(x, w), len(x))
    assert ((pi > 0) & (pi <= 1)).all(), f"{_name(model)}.probability is not above 0 and at most 1"
    return pi


def _fit(model: AssignmentModel, x: Array, w: Array, weight: Float64) -> AssignmentModel:
    return model.fit(x, w, weight)


def _vector(model: object, method: str, values: Float64, n: int) -> Float64:
    found = np.asarray(values)
    assert found.shape == (n,), f"{_name(model)}.{method} has shape {found.shape}, not {(n,)}"
    assert np.issubdtype(found.dtype, np.floating), f"{_name(model)}.{method} holds {found.dtype}, not floats"
    assert np.isfinite(found).all(), f"{_name(model)}.{method} holds values that are not finite"
    return found


def _name(model: object) -> str:
    return type(model).__name__
