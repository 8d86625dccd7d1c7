"""Whitened coordinates: columns of unlike units all stay, copies and constants do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.nuisance.coordinates import PrincipalCoordinates


@pytest.mark.parametrize("size", [1e2, 1e4, 1e7])
@pytest.mark.parametrize("copies", [1, 60])
def test_a_small_column_stays_beside_a_large_one_and_copies_go(size, copies):
    """With 60 copies there are more columns than rows."""
    rng = np.random.default_rng(0)
    large, small = size * rng.normal(size=50), rng.integers(0, 2, 50).astype(float)
    x = np.column_stack([large, small, np.full(50, 7e5), *(1 + k * large - 3 * small for k in range(copies))])
    weight = rng.uniform(0.5, 2, 50)
    u = PrincipalCoordinates.of(x, weight).transform(x)
    assert u.shape == (50, 2)
    np.testing.assert_allclose((u * weight[:, None]).T @ u / weight.sum(), np.eye(2), atol=1e-6)
    fit = np.linalg.lstsq(np.column_stack([np.ones(50), u]), small)[0]
    np.testing.assert_allclose(np.column_stack([np.ones(50), u]) @ fit, small, atol=1e-6)


@pytest.mark.parametrize("n", [500, 20])
def test_ordinary_embeddings_have_their_principal_components(n):
    """Variances that fall to a thousandth, rows that repeat, fewer directions than columns: as numpy's own SVD."""
    rng = np.random.default_rng(1)
    texts = (rng.normal(size=(25, 40)) * np.geomspace(1, 0.03, 40)).astype(np.float32)
    x = texts[rng.integers(0, 25, n)]
    coordinates = PrincipalCoordinates.of(x, np.ones(n))
    centered = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    variance = np.linalg.svd(centered, compute_uv=False) ** 2 / n
    rank = len(np.unique(x, axis=0)) - 1
    np.testing.assert_allclose(coordinates.variance, variance[:rank], rtol=1e-9)


@pytest.mark.parametrize("noise", [1e-17, 1e-12])
def test_a_direction_that_is_rounding_among_these_rows_is_not_scaled_up_for_others(noise):
    """Coordinates along the axes, as those of an SVD of all texts are: the last axis has texts elsewhere alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5)) * [1.0, 0.5, 0.2, 0.05, noise]
    coordinates = PrincipalCoordinates.of(x, np.ones(40))
    assert coordinates.transform(x).shape == (40, 4)
    assert np.abs(coordinates.transform(np.array([[0.0, 0.0, 0.0, 0.0, 1.0]]) + x.mean(axis=0))).max() < 1e-6


def test_rounding_of_single_precision_is_no_direction():
    """Copies and constants as float32 leaves them: equal to seven digits, whatever their units."""
    rng = np.random.default_rng(0)
    real = np.column_stack([rng.normal(size=60), 3e3 + rng.normal(size=60), 1e9 * rng.normal(size=60)])

    def single(column):
        return column * (1 + 2.0**-24 * rng.uniform(-1, 1, len(column)))

    copies = [single(1e-3 * real[:, 1]), single(real[:, 1]), single(real[:, 0] + 5.0), single(np.full(60, 7e5))]
    x = np.column_stack([real, *copies, single(np.full(60, 1e-8))])
    coordinates = PrincipalCoordinates.of(x, np.ones(60))
    u = coordinates.transform(x)
    assert u.shape == (60, 3)
    for column in real.T:
        fit = np.linalg.lstsq(np.column_stack([np.ones(60), u]), column)[0]
        np.testing.assert_allclose(np.column_stack([np.ones(60), u]) @ fit, column, rtol=1e-3, atol=1e-3)


VERB = ["asks you", "urges us", "wants everybody", "would like people"]
WHAT = ["to save water.", "to plant trees.", "to give ten euros.", "to vote on Sunday."]


def vignettes(n, seed):
    """Sentences of three parts each drawn apart: 80 in all, of some thirty words."""
    rng = np.random.default_rng([4, seed])
    who = ["The mayor", "A nurse", "My neighbour", "The committee", "A farmer"]
    i, j, k = (rng.integers(0, size, n) for size in (5, 4, 4))
    age = rng.normal(40, 10, n)
    text = [f"{who[a]} {VERB[b]} {WHAT[c]}" for a, b, c in zip(i, j, k, strict=True)]
    return pd.DataFrame({"text": text, "age": age, "outcome": rng.normal(size=n), "rare": rng.random(n) > 0.1})


@pytest.mark.parametrize("kind", ["outcome", "rare"])
@pytest.mark.parametrize("n", [60, 240])
def test_few_words_leave_predictions_within_reach_of_the_outcomes(n, kind):
    """Noise: the mean is best. Predictions far outside the outcomes are those of a fit gone wild, not of noise."""
    for seed in range(3):
        frame = vignettes(n, seed)
        frame["outcome"] = frame[kind].astype(float)
        data = co.DirectOutcomeDataset.from_frame(frame, text="text", outcome="outcome", covariates=["age"])
        found = co.PseudoOutcomeEstimator(
            outcome_model="ridge", assignment_model="randomized", seed=seed
        ).fit_transform(data)
        spread = np.ptp(data.outcome)
        for values in (found.m, found.g):
            assert data.outcome.min() - spread / 2 < values.min() <= values.max() < data.outcome.max() + spread / 2
        assert np.mean((data.outcome - found.m) ** 2) < 2 * data.outcome.var()


def test_an_attribute_of_thousands_hides_no_attribute_of_ones():
    """Lengths of 100 to 9000 beside a 0/1: its effect of 1 is found, and so is who was shown it.

    The difference of 3000 outcomes of sd 0.5 has a standard error of 0.018, and shrinkage takes 0.02: 0.12 is reached
    with probability below 1e-6.
    """
    rng = np.random.default_rng(0)
    length, b = rng.integers(100, 9000, 300), rng.integers(0, 2, 300)
    w = rng.normal(size=3000)
    shown = rng.random(3000) < 1 / (1 + np.exp(-1.5 * w))
    for confounded in (False, True):
        text = np.where(shown, rng.choice(np.flatnonzero(b == 1), 3000), rng.choice(np.flatnonzero(b == 0), 3000))
        outcome = (w if confounded else b[text]) + 0.5 * rng.normal(size=3000)
        columns = {"text": [f"text {k}" for k in text], "length": length[text], "b": b[text], "w": w}
        data = co.DirectOutcomeDataset.from_frame(
            pd.DataFrame({**columns, "outcome": outcome}), attributes=["length", "b"], covariates=["w"]
        )
        models = {"outcome_model": "zero", "assignment_model": "gaussian"} if confounded else {
            "outcome_model": "ridge", "assignment_model": "randomized"}  # fmt: skip
        found = co.PseudoOutcomeEstimator(embedder="attributes", **models).fit_transform(data)
        if confounded:
            log_s = np.log(0.5) + np.log1p(np.exp(np.where(shown, -1.5, 1.5) * w))
            assert np.corrcoef(np.log(found.s), log_s)[0, 1] > 0.95
            effect = found.xi
        else:
            effect = found.g
        assert effect[shown].mean() - effect[~shown].mean() == pytest.approx(0.0 if confounded else 1.0, abs=0.12)


def test_variation_at_the_rounding_of_a_column_or_of_the_largest_is_none():
    rng = np.random.default_rng(0)
    column, noise = rng.normal(size=(2, 50))
    noise -= noise.mean()
    assert len(PrincipalCoordinates.of(np.c_[column, 1e6 + 0.1 * noise], np.ones(50)).variance) == 1
    assert len(PrincipalCoordinates.of(np.c_[column - column.mean(), 1e-12 * noise], np.ones(50)).variance) == 1
    assert len(PrincipalCoordinates.of(np.c_[column, 1e6 + 10 * noise], np.ones(50)).variance) == 2
