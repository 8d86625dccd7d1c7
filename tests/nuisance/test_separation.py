"""Texts that a covariate gives away are reported whatever the assignment model; ordinary data are not."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import causalopt as co
from causalopt.errors import OverlapWarning
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.nuisance.diagnostics import (
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
    assert re.search(
        r"readers of 2 of the 2 texts from .* \(area under the curve (0\.99\d|1\.000) in 1 of 1 pairs\)", said
    )
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


def eight_texts(rng, n, split):
    """Eight texts; readers see four of them or the other four, by their first covariate, where ``split`` is true."""
    w = rng.normal(size=(n, 3))
    shown = 2 * rng.integers(4, size=n) + np.where(split, w[:, 0] > 0, rng.integers(2, size=n))
    return shown, w


def test_sets_of_texts_with_readers_of_their_own_are_reported():
    """No single text is given away here: readers of one see it a quarter of the time, readers of the others never."""
    text, w = eight_texts(np.random.default_rng(0), 600, split=True)
    with pytest.warns(OverlapWarning, match=r"readers of 8 of the 8 texts from .* in 16 of 28 pairs"):
        warn_if_separated(text, w)


def test_a_rare_text_is_compared_together_with_others():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(200, 2))
    shown = np.where(w[:, 1] > 0, 0, 1 + rng.integers(10, size=200))  # one text in half of the rows, ten in the others
    with pytest.warns(OverlapWarning, match=r"readers of 1 of the 11 texts from .* in 1 of 1 pairs"):
        warn_if_separated(shown, w)


def test_randomised_texts_are_not_called_separated():
    """150 experiments of 28 pairs: none may warn.

    Two texts of 20 rows at random come to an area above 0.99 in 12 of the 1.4e11 orders of their rows, and a held-out
    score orders them at random: with probability below 1e-6 any of the pairs warns.
    """
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        for _ in range(150):
            warn_if_separated(*eight_texts(rng, 240, split=False))


def test_strong_confounding_with_overlap_is_not_called_separation():
    x, w, _ = two_texts(gap=2.0)
    text, ones = x[:, 0].astype(int), np.ones(300)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        warn_if_separated(text, w)
        warn_if_text_gives_reader_away(x, w, ones, text)
        warn_if_text_gives_reader_away(x, np.zeros((300, 0)), ones, text)
        warn_if_text_gives_reader_away(x, np.ones((300, 2)), ones, text)
        warn_if_separated(text, np.zeros((300, 0)))
        warn_if_separated(text, np.ones((300, 2)))


@pytest.mark.parametrize("mean", [0.7, 0.85, 1.15])
def test_a_mean_weight_far_from_one_is_reported(mean):
    s = mean + np.linspace(-0.1, 0.1, 500)
    with pytest.warns(OverlapWarning, match=rf"weights is {mean} \(standard error 0\.0"):
        warn_if_mean_is_not_one(s, np.ones(500), np.arange(500))


def test_weights_on_a_handful_of_rows_are_reported():
    s = np.full(500, 1e-9)
    s[:3] = 100.0
    with pytest.warns(OverlapWarning, match=r"500 rows count as 3\.0 under the stabilized weights"):
        warn_if_mean_is_not_one(s, np.ones(500), np.arange(500))


@pytest.mark.parametrize("spread", [0.5, 0.8, 1.5])
def test_the_mean_of_true_weights_is_left_alone(spread):
    """True log-normal weights of 300 rows in pairs, up to a standard deviation of 2.9.

    At most one sample in a thousand may warn, whatever the skewness; nine of a thousand do with probability below 2e-6.
    """
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(1000):
        s = np.exp(spread * rng.normal(size=300) - spread**2 / 2)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_if_mean_is_not_one(s, rng.uniform(0.5, 2, 300), np.arange(300) // 2)
        found += any("would be 1" in str(one.message) for one in caught)
    assert found <= 8


@pytest.mark.parametrize("model", ["gaussian", "classifier"])
@pytest.mark.parametrize("confounding", [0.0, 1.0])
def test_silent_in_a_world_with_overlap(model, confounding):
    data = co.simulation.TemplateWorld(confounding=confounding).sample(600, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverlapWarning)
        co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model=model, max_weight=100).fit_transform(data)
