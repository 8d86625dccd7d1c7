import lightgbm
import numpy as np
import pytest
from nuisance_laws import binary_texts, fit_quality, gaussian_texts

from causalopt.errors import CausalOptWarning
from causalopt.nuisance.assignment.classifier import ClassifierAssignment
from causalopt.nuisance.assignment.gaussian import GaussianAssignment
from causalopt.nuisance.diagnostics import discrimination_loss, reassigned_pairs


def test_plain_trees_find_nothing_where_the_products_find_the_ratio():
    """The trap: with the margins kept, boosted trees on (x, w) see no gain in any single split."""
    x, w, log_s = gaussian_texts(4000, 16, 3, 1.0, seed=1)
    half = 2000
    text, reader = reassigned_pairs(half, np.random.default_rng(0), 1)
    pairs = np.vstack([np.hstack([x[:half], w[:half]]), np.hstack([x[text], w[reader]])])
    real = np.r_[np.ones(half), np.zeros(half)]
    plain = lightgbm.LGBMClassifier(n_estimators=50, n_jobs=1, verbosity=-1).fit(pairs, real)
    of_trees = -plain.predict(np.hstack([x[half:], w[half:]]), raw_score=True)
    model = ClassifierAssignment().fit(x[:half], w[:half], np.ones(half))
    correlation, slope = fit_quality(np.log(model.stabilized_weight(x[half:], w[half:])), log_s[half:])
    assert np.ptp(of_trees) == 0
    assert correlation > 0.95
    assert 0.8 < slope < 1.2


def test_a_law_that_is_neither_gaussian_nor_linear():
    x, w, log_s = binary_texts(4000, 8, seed=2, curved=True)
    rest = slice(2500, None)
    of_gaussian = GaussianAssignment().fit(x[:2500], w[:2500], np.ones(2500)).stabilized_weight(x[rest], w[rest])
    of_classifier = ClassifierAssignment().fit(x[:2500], w[:2500], np.ones(2500)).stabilized_weight(x[rest], w[rest])
    gaussian, classifier = (fit_quality(np.log(s), log_s[rest]) for s in (of_gaussian, of_classifier))
    assert classifier[0] > max(0.85, gaussian[0] + 0.1)
    assert 0.75 < classifier[1] < 1.2


def test_no_confounding_gives_weights_near_one():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(600, 8)), rng.normal(size=(600, 2))
    s = ClassifierAssignment().fit(x, w, np.ones(600)).stabilized_weight(x, w)
    assert np.std(np.log(s)) < 0.1
    assert s.mean() == pytest.approx(1, abs=0.05)


def test_constant_covariates_and_a_single_text():
    x = np.random.default_rng(0).normal(size=(60, 3))
    one = np.ones((60, 1))
    np.testing.assert_allclose(ClassifierAssignment().fit(x, one, np.ones(60)).stabilized_weight(x, one), 1, atol=0.3)
    np.testing.assert_array_equal(ClassifierAssignment().fit(one, x, np.ones(60)).stabilized_weight(one, x), 1)


def test_rows_without_weight_are_as_if_left_out_and_too_few_with_one_are_said():
    x, w, _ = gaussian_texts(300, 4, 2, 1.0, seed=3)
    weight = np.zeros(300)
    weight[:12] = 1
    found = ClassifierAssignment().fit(x, w, weight).stabilized_weight(x, w)
    assert np.isfinite(found).all()
    weight[3:] = 0
    with pytest.warns(CausalOptWarning, match=r"the smallest of its 3 inner folds has [01] of the 3 rows of positive"):
        model = ClassifierAssignment().fit(x, w, weight)
    np.testing.assert_array_equal(model.stabilized_weight(x, w), 1)
    assert len(ClassifierAssignment().fit(x, w, np.ones(300)).stabilized_weight(x[:0], w[:0])) == 0


def test_reassigned_readers_are_never_the_texts_own_and_come_up_equally_often():
    text, reader = reassigned_pairs(10, np.random.default_rng(0), 4)
    assert (text != reader).all()
    assert set(np.bincount(text)) == set(np.bincount(reader)) == {4}
    assert len(reassigned_pairs(1, np.random.default_rng(0))[0]) == 0
    assert len(reassigned_pairs(3, np.random.default_rng(0))[0]) == 6


def test_the_loss_is_smallest_at_the_true_weights():
    x, w, log_s = gaussian_texts(3000, 2, 1, 1.0, seed=0)
    slopes = np.linalg.lstsq(w, x)[0]
    sigma = np.cov((x - w @ slopes).T)
    total = np.cov(x.T)
    text, reader = reassigned_pairs(3000, np.random.default_rng(0))

    def log_weight(i, j):
        rest = x[i] - w[j] @ slopes
        marginal = -0.5 * np.einsum("ij,jk,ik->i", x[i], np.linalg.inv(total), x[i]) - 0.5 * np.linalg.slogdet(total)[1]
        given = -0.5 * np.einsum("ij,jk,ik->i", rest, np.linalg.inv(sigma), rest) - 0.5 * np.linalg.slogdet(sigma)[1]
        return marginal - given

    own = np.arange(3000)
    real, reassigned = log_weight(own, own), log_weight(text, reader)
    assert np.corrcoef(real, log_s)[0, 1] > 0.99
    ones = (np.ones(3000), np.ones(len(text)))
    losses = {c: discrimination_loss(c * real, c * reassigned, *ones) for c in (0.0, 0.5, 1.0, 1.5)}
    assert losses[0.0] == pytest.approx(np.log(2))
    assert min(losses, key=losses.get) == 1.0


def test_a_gaussian_that_is_fitted_already_changes_nothing():
    x, w, _ = gaussian_texts(300, 4, 2, 1.0, seed=0)
    rows = x, w, np.ones(300)
    own = ClassifierAssignment().fit(*rows)
    given = ClassifierAssignment(gaussian=GaussianAssignment().fit(*rows)).fit(*rows)
    np.testing.assert_array_equal(given.stabilized_weight(x, w), own.stabilized_weight(x, w))
