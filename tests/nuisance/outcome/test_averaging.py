import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LinearRegression

from causalopt.nuisance.outcome.averaging import distinct_rows, mean_over_readers, mean_over_texts
from causalopt.nuisance.outcome.sklearn import SklearnOutcome


def curved(x, w):
    return np.exp(0.3 * x[:, 0] * w[:, 0]) + w[:, 1] ** 2


def test_few_readers_are_averaged_exactly_with_their_weights():
    rng = np.random.default_rng(0)
    x, w, weight = rng.normal(size=(7, 1)), rng.integers(0, 3, size=(60, 2)).astype(float), rng.random(60)
    mean, error = mean_over_readers(curved, x, w, weight, readers=9)
    expected = [np.average(curved(np.repeat(row[None], 60, axis=0), w), weights=weight) for row in x]
    np.testing.assert_allclose(mean, expected)
    assert not error.any()


def test_the_error_of_a_sample_is_not_understated():
    """Root mean squares over 400 seeds have a relative error of 0.05 at most: 5 of them are 1e-6."""
    rng = np.random.default_rng(0)
    x, w, weight = np.array([[-1.0], [0.5], [2.0]]), rng.normal(size=(800, 2)), rng.random(800)
    exact, _ = mean_over_readers(curved, x, w, weight, readers=800)
    draws = [mean_over_readers(curved, x, w, weight, readers=50, seed=seed) for seed in range(400)]
    means, errors = np.array([d[0] for d in draws]), np.array([d[1] for d in draws])
    actual, stated = (np.sqrt((values**2).mean(axis=0)) for values in (means - exact, errors))
    assert (actual < 1.25 * stated).all()
    assert (stated < 2 * actual + 0.2).all()


def test_a_regression_that_is_linear_in_the_reader_is_averaged_exactly():
    """Readers of unlike units, dependent covariates, weights, and a kind of reader that no sample is sure to hold."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3000, 8))
    w = np.column_stack([w @ rng.normal(size=(8, 8)), 5e4 * np.exp(w[:, 0]), w[:, 1] > 1.5, np.ones(3000)])
    x, weight = rng.normal(size=(3000, 2)), rng.uniform(0.1, 3, 3000)
    y = x[:, 0] + w[:, :8].sum(axis=1) + 1e-5 * w[:, 8] + 3 * w[:, 9] + rng.normal(size=3000)
    model = SklearnOutcome(LinearRegression()).fit(x, w, y, weight)
    g, error = model.marginal_with_error(x[:50], w, weight)
    mean_reader = np.repeat(np.average(w, axis=0, weights=weight)[None], 50, axis=0)
    np.testing.assert_allclose(g, model.predict(x[:50], mean_reader), atol=1e-8)
    np.testing.assert_allclose(error, 0, atol=1e-8)


def test_calibration_takes_most_of_the_error_of_a_curved_model():
    """A probability over 8 covariates, 200 seeds: the calibrated error is a third of a plain sample's.

    Their ratio has a relative standard error of 0.07 (that of two root mean squares over 200): it would have to be off
    by 6 of them for one half, and by 5 for the stated error to be missed by 1.3, each below 1e-6.
    """
    rng = np.random.default_rng(1)
    w, slope = rng.normal(size=(2000, 8)), rng.normal(size=8) / np.sqrt(8)

    def probability(x, w):
        return expit(x[:, 0] + 2 * w @ slope)

    x = np.array([[-0.5], [0.5]])
    exact, _ = mean_over_readers(probability, x, w, np.ones(2000), readers=2000)
    found = [mean_over_readers(probability, x, w, np.ones(2000), seed=seed) for seed in range(200)]
    plain = [expit(x + 2 * w[rng.choice(2000, 100)] @ slope).mean(axis=1) for _ in range(200)]
    actual, stated, simple = (
        np.sqrt(np.mean(np.square(errors), axis=0))
        for errors in ([mean - exact for mean, _ in found], [error for _, error in found], np.array(plain) - exact)
    )
    assert (actual < 0.5 * simple).all()
    assert (actual < 1.3 * stated).all()
    assert (stated < 1.5 * actual).all()


def test_texts_are_averaged_for_every_reader():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(30, 1)), np.repeat(rng.normal(size=(4, 2)), 5, axis=0)
    ids = np.arange(30)

    def predict(x, w, text_id):
        assert (x == draws[text_id]).all()
        return curved(x, w)

    draws = x
    mean = mean_over_texts(predict, x, w, ids, texts=64)
    np.testing.assert_allclose(mean, [curved(x, np.repeat(row[None], 30, axis=0)).mean() for row in w])
    sampled = mean_over_texts(predict, x, w, ids, texts=10, seed=1)
    np.testing.assert_array_equal(sampled, mean_over_texts(predict, x, w, ids, texts=10, seed=1))
    assert (sampled != mean).any()


def test_distinct_rows_add_their_weights():
    rows, weight = distinct_rows(np.array([[1.0], [2.0], [1.0]]), np.array([0.5, 1.0, 2.0]))
    assert dict(zip(rows[:, 0], weight, strict=True)) == pytest.approx({1.0: 2.5, 2.0: 1.0})
