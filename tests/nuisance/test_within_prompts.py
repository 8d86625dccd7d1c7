"""Effects within prompts, against the normal posterior of the whole model in dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from causalopt.errors import DataError
from causalopt.nuisance.within_prompts import Readings, WithinPromptEffects, fit_within_prompts

VAGUE = 1e5
"""Prior variance of a prompt's level in the dense model, where the product has a flat prior."""


def small(seed=0, prompts=7, d=3):
    rng = np.random.default_rng(seed)
    prompt = rng.permutation(np.repeat(np.arange(prompts), rng.integers(2, 6, prompts)))
    n = len(prompt)
    exposure = rng.lognormal(0, 1, n)
    exposure[1] = 0.0  # a candidate that nobody read
    return rng, prompt, rng.normal(size=(n, d)), rng.normal(size=n) + 3.0 * prompt, exposure


def test_contrasts_and_text_effects_are_those_of_the_dense_posterior():
    _, prompt, z, y, exposure = small()
    tau2, sigma2, slope = 0.4, 0.9, 0.7
    read = exposure > 0
    # beta given the other variances: generalised least squares with a prior.
    levels = np.equal.outer(prompt, prompt) * VAGUE
    prior = slope * z @ z.T + tau2 * np.eye(len(y))  # of beta'z + u
    observed = (prior + levels)[np.ix_(read, read)] + np.diag(sigma2 / exposure[read])
    gain = np.linalg.solve(observed, prior[read]).T
    mean, covariance = gain @ y[read], prior - gain @ prior[read]
    of_beta = slope * np.linalg.solve(observed, z[read]).T
    beta = of_beta @ y[read]
    beta_covariance = slope * np.eye(3) - of_beta @ z[read] * slope
    among = np.equal.outer(prompt, prompt) / np.bincount(prompt)[prompt]
    contrast = np.eye(len(y)) - among

    model = WithinPromptEffects(beta, beta_covariance, tau2, sigma2)
    effect, sd = model.contrasts(z, Readings(y, exposure, 0.0, 0), prompt)
    np.testing.assert_allclose(effect, contrast @ mean, atol=2e-4)
    np.testing.assert_allclose(sd, np.sqrt(np.diag(contrast @ covariance @ contrast.T)), atol=2e-4)
    u = tau2 * np.linalg.solve(observed, np.eye(len(y))[read]).T @ y[read]
    np.testing.assert_allclose(model.text_effects(z, Readings(y, exposure, 0.0, 0), prompt), u, atol=2e-4)


def test_the_variances_maximise_the_dense_likelihood():
    rng = np.random.default_rng(1)
    prompt = np.repeat(np.arange(60), 4)
    z, exposure = rng.normal(size=(240, 2)), rng.lognormal(0, 1.2, 240)
    y = (
        2 * rng.normal(size=60)[prompt] + z @ [0.8, -0.4] + 0.5 * rng.normal(size=240)
        + 0.7 * rng.normal(size=240) / np.sqrt(exposure)
    )  # fmt: skip
    found = fit_within_prompts(z, Readings(y, exposure, 0.0, 0), prompt)

    def log_likelihood(tau2, sigma2, slope):
        levels = np.equal.outer(prompt, prompt) * VAGUE
        covariance = slope * z @ z.T + levels + np.diag(tau2 + sigma2 / exposure)
        odds = np.log(tau2 * exposure.mean() / sigma2)  # the documented weak prior of the share
        return multivariate_normal(np.zeros(240), covariance).logpdf(y) - 0.5 * ((odds - np.log(1 / 3)) / 2) ** 2

    # lambda^2 is not reported; the posterior of beta implies it, and the best one is found on a grid.
    grid = np.exp(np.linspace(-4, 4, 41))
    here = max(log_likelihood(found.text_variance, found.noise_variance, slope) for slope in grid)
    for tau, sigma in ((1.25, 1.0), (0.8, 1.0), (1.0, 1.25), (1.0, 0.8)):
        other = max(log_likelihood(tau * found.text_variance, sigma * found.noise_variance, slope) for slope in grid)
        assert other < here + 0.02  # the grid of lambda^2 is coarse
    assert abs(found.coefficients - [0.8, -0.4]).max() < 0.25


def test_levels_of_prompts_and_units_play_no_part():
    rng, prompt, z, y, exposure = small(3, prompts=40)
    one = fit_within_prompts(z, Readings(y, exposure, 0.0, 0), prompt)
    moved = y * 100 + (1e3 * rng.normal(size=40))[prompt]
    other = fit_within_prompts(z, Readings(moved, exposure, 0.0, 0), prompt)
    np.testing.assert_allclose(other.coefficients, 100 * one.coefficients, rtol=0.02, atol=0.5)


def test_a_text_read_a_hundred_times_is_judged_by_its_readings():
    prompt, z = np.array([0, 0]), np.array([[1.0], [-1.0]])
    model = WithinPromptEffects(np.array([1.0]), np.zeros((1, 1)), text_variance=0.25, noise_variance=1.0)
    contradicting = np.array([-2.0, 2.0])
    often, _ = model.contrasts(z, Readings(contradicting, np.array([1e6, 1e6]), 0.0, 0), prompt)
    np.testing.assert_allclose(often, contradicting, atol=1e-3)
    never, sd = model.contrasts(z, Readings(contradicting, np.zeros(2), 0.0, 0), prompt)
    np.testing.assert_allclose(never, [1.0, -1.0])
    np.testing.assert_allclose(sd, np.sqrt(0.25 / 2))


def test_intervals_of_new_texts_cover():
    """300 contrasts of one fit share beta, so tables are replicated: 40 of them, coverage in 0.92 to 0.98.

    The mean over 40 tables of 300 contrasts has a standard error below 0.005, so that 0.03 is passed with probability
    below 1e-4.
    """
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        prompt = np.repeat(np.arange(150), 3)
        z, exposure = rng.normal(size=(450, 6)), rng.lognormal(0, 1, 450)
        beta = 0.3 * rng.normal(size=6)
        truth = z @ beta + 0.4 * rng.standard_t(8, size=450) / np.sqrt(8 / 6)
        y = truth + 3 * rng.normal(size=150)[prompt] + rng.normal(size=450) / np.sqrt(exposure)
        new = prompt >= 50
        fit = fit_within_prompts(z[~new], Readings(y[~new], exposure[~new], 0.0, 0), prompt[~new])
        unread = Readings(np.zeros(300), np.zeros(300), 0.0, 0)
        effect, sd = fit.contrasts(z[new], unread, prompt[new])
        centred = truth[new].reshape(-1, 3) - truth[new].reshape(-1, 3).mean(axis=1, keepdims=True)
        covered.append(np.mean(np.abs(effect - centred.ravel()) < 1.96 * sd))
    assert 0.92 < np.mean(covered) < 0.98


def test_rows_of_one_text_are_summarised():
    readings = Readings.of(np.array([1.0, 3.0, 5.0]), np.array([1.0, 3.0, 2.0]), np.array([0, 0, 2]), 3)
    assert readings.mean.tolist() == [2.5, 0.0, 5.0]
    assert readings.exposure.tolist() == [4.0, 0.0, 2.0]
    assert readings.within == pytest.approx(1 * 1.5**2 + 3 * 0.5**2)
    assert readings.spare == 1


def test_nothing_to_compare_is_an_error():
    z = np.ones((2, 1))
    with pytest.raises(DataError, match="no prompt has two texts with outcomes"):
        fit_within_prompts(z, Readings(np.array([1.0, 2.0]), np.ones(2), 0.0, 0), np.array([0, 1]))
    with pytest.raises(DataError, match="the same outcome"):
        fit_within_prompts(z, Readings(np.array([1.0, 1.0]), np.ones(2), 0.0, 0), np.array([0, 0]))
