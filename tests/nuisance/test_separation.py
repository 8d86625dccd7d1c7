"""Texts that a covariate gives away are reported whatever the assignment model; ordinary data are not."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import causalopt as co
from causalopt.errors import OverlapWarning
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.separation import (
    warn_if_mean_is_not_one,
    warn_if_separated,
    warn_if_text_gives_reader_away,
)


def two_texts(gap: float, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first covariate decides which of two texts is shown, without exception where ``gap`` is large."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(n, 2))
    shown = (gap * w[:, 0] + rng.logistic(size=n) > 0).astype(int)
    return np.array([[0.0, 1.0], [1.0, 0.0]])[shown], w, shown + w[:, 0] + rng.normal(size=n)


@pytest.mark.parametrize("model", ["gaussian", "classifier", "arms", "randomized"])
def test_separated_texts_are_reported_with_the_number(model):
    x, w, y = two_texts(gap=200.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = cross_fit(x, w, y, outcome_model="ridge", assignment_model=model, folds=3)
    said = " ".join(str(one.message) for one in caught if issubclass(one.category, OverlapWarning))
    assert re.search(r"who was shown 2 of the 2 texts \(area under the curve (0\.99\d|1\.000)\)", said)
    assert np.isfinite(fit.s).all()


@pytest.mark.parametrize("model", ["gaussian", "classifier", "randomized"])
def test_texts_that_give_the_reader_away_are_reported(model):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(600, 2))
    x = np.hstack([w[:, :1] + 1e-6 * rng.normal(size=(600, 1)), rng.normal(size=(600, 2))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_fit(x, w, x[:, 0] + rng.normal(size=600), outcome_model="ridge", assignment_model=model, folds=3)
    said = " ".join(str(one.message) for one in caught if issubclass(one.category, OverlapWarning))
    assert re.search(r"determines 1 of the 2 encoded covariates of its reader \(held-out R\^2 (0\.99\d|1\.000)\)", said)


def test_strong_confounding_with_overlap_is_not_called_separation():
    x, w, _ = two_texts(gap=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        warn_if_separated(x, w)
        warn_if_text_gives_reader_away(x, w, np.ones(300))
        warn_if_text_gives_reader_away(x, np.zeros((300, 0)), np.ones(300))
        warn_if_text_gives_reader_away(x, np.ones((300, 2)), np.ones(300))
        warn_if_separated(x, np.zeros((300, 0)))
        warn_if_separated(x, np.ones((300, 2)))


def test_a_mean_weight_far_from_one_is_reported_and_noise_is_not():
    """200 samples of true weights with a standard error of 0.06: none may miss one by a quarter, four of them."""
    rng = np.random.default_rng(0)
    with pytest.warns(OverlapWarning, match=r"weights is 0\.70 \(standard error 0\.0"):
        warn_if_mean_is_not_one(0.7 + 0.1 * rng.normal(size=500), np.ones(500), np.arange(500))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        for _ in range(200):
            s = np.exp(0.8 * rng.normal(size=300) - 0.32)  # mean one, and a spread of 0.95
            warn_if_mean_is_not_one(s, rng.uniform(0.5, 2, 300), np.arange(300) // 2)


@pytest.mark.parametrize("model", ["gaussian", "classifier"])
@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_silent_in_a_world_with_overlap(model, confounding):
    data = co.simulation.TemplateWorld(confounding=confounding).sample(600, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model=model, max_weight=100).fit_transform(data)
