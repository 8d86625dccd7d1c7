import numpy as np
import pytest

from causalopt.nuisance.averaging import distinct_rows, mean_over_readers, mean_over_texts


def curved(x, w):
    return np.exp(0.3 * x[:, 0] * w[:, 0]) + w[:, 1] ** 2


def test_few_readers_are_averaged_exactly_with_their_weights():
    rng = np.random.default_rng(0)
    x, w, weight = rng.normal(size=(7, 1)), rng.integers(0, 3, size=(60, 2)).astype(float), rng.random(60)
    mean, error = mean_over_readers(curved, x, w, weight, readers=9)
    expected = [np.average(curved(np.repeat(row[None], 60, axis=0), w), weights=weight) for row in x]
    np.testing.assert_allclose(mean, expected)
    assert not error.any()


def test_a_sample_is_unbiased_and_its_error_not_understated():
    """Means over 400 seeds: a two-sided z-test at 5 standard errors fails with probability below 1e-6 for each text."""
    rng = np.random.default_rng(0)
    x, w, weight = np.array([[-1.0], [0.5], [2.0]]), rng.normal(size=(800, 2)), rng.random(800)
    exact, _ = mean_over_readers(curved, x, w, weight, readers=800)
    draws = [mean_over_readers(curved, x, w, weight, readers=50, seed=seed) for seed in range(400)]
    means, errors = np.array([d[0] for d in draws]), np.array([d[1] for d in draws])
    assert (np.abs(means.mean(axis=0) - exact) < 5 * means.std(axis=0) / 20).all()
    assert (means.std(axis=0) < 1.1 * np.sqrt((errors**2).mean(axis=0))).all()
    assert (np.sqrt((errors**2).mean(axis=0)) < 2 * means.std(axis=0) + 0.2).all()


def test_texts_are_averaged_for_every_reader():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(30, 1)), np.repeat(rng.normal(size=(4, 2)), 5, axis=0)
    mean = mean_over_texts(curved, x, w, texts=64)
    np.testing.assert_allclose(mean, [curved(x, np.repeat(row[None], 30, axis=0)).mean() for row in w])
    sampled = mean_over_texts(curved, x, w, texts=10, seed=1)
    np.testing.assert_array_equal(sampled, mean_over_texts(curved, x, w, texts=10, seed=1))
    assert (sampled != mean).any()


def test_distinct_rows_add_their_weights():
    rows, weight = distinct_rows(np.array([[1.0], [2.0], [1.0]]), np.array([0.5, 1.0, 2.0]))
    assert dict(zip(rows[:, 0], weight, strict=True)) == pytest.approx({1.0: 2.5, 2.0: 1.0})
