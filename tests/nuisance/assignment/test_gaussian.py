import numpy as np
import pytest
from nuisance_laws import binary_texts, fit_quality, gaussian_texts
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from causalopt.data.folds import inner_folds
from causalopt.nuisance.assignment.gaussian import GaussianAssignment, drawn_rows
from causalopt.nuisance.assignment.reduced_rank import (
    PENALTIES,
    SHRINKAGES,
    UNFORESEEN,
    CanonicalSettings,
    RegressionMoments,
    RegressionPath,
    RegressionSplit,
    choose_settings,
)
from causalopt.nuisance.assignment.sinkhorn import Normalizer, margins, margins_in_logs
from causalopt.nuisance.coordinates import PrincipalCoordinates


@pytest.mark.parametrize(
    ("n", "d", "strength", "low"), [(2000, 16, 0.7, 0.95), (2000, 16, 1.2, 0.95), (4000, 64, 1.2, 0.95)]
)
def test_a_known_gaussian_ratio_is_recovered(n, d, strength, low):
    x, w, log_s = gaussian_texts(n + 2000, d, 3, strength, seed=1)
    model = GaussianAssignment().fit(x[:n], w[:n], np.ones(n))
    correlation, slope = fit_quality(np.log(model.stabilized_weight(x[n:], w[n:])), log_s[n:])
    assert correlation > low
    assert 0.8 < slope < 1.2
    assert model.information_ == pytest.approx(-log_s.mean(), abs=0.1)


def test_texts_of_discrete_parts():
    x, w, log_s = binary_texts(4000, 16, seed=2, curved=False)
    model = GaussianAssignment().fit(x[:2000], w[:2000], np.ones(2000))
    correlation, slope = fit_quality(np.log(model.stabilized_weight(x[2000:], w[2000:])), log_s[2000:])
    assert correlation > 0.95
    assert 0.8 < slope < 1.2


@pytest.mark.parametrize(("d", "most", "cost"), [(4, 6, 0.006), (64, 12, 0.013)])
def test_no_confounding_gives_weights_near_one(d, most, cost):
    """Over 20 laws: few have any weight off one, and the weights' variance is the share of the sample that they cost.

    In 300 and 150 other laws the weights were off one in 0.04 (d = 4) and 0.17 (d = 64) of them, and their mean
    variance was 0.0006 and 0.003. Twenty laws like those exceed ``most`` or ``cost`` with probability below 3e-5. A
    single law may be off by more: with d = 64 the standard deviation reached 0.20.
    """
    variances = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(500, d)), rng.normal(size=(500, 3))
        variances.append(np.var(GaussianAssignment().fit(x, w, np.ones(500)).stabilized_weight(x, w)))
    assert np.sum(np.array(variances) > 0) <= most
    assert np.mean(variances) < cost


def test_curved_assignment_is_seen_through_squares():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3000, 1))
    x = 0.8 * (w**2 - 1) + rng.normal(size=(3000, 1))
    s = GaussianAssignment().fit(x[:1500], w[:1500], np.ones(1500)).stabilized_weight(x[1500:], w[1500:])
    readers = rng.normal(size=5000) ** 2 - 1
    marginal = np.log(np.mean(np.exp(-0.5 * (x[1500:] - 0.8 * readers) ** 2), axis=1))
    correlation, slope = fit_quality(np.log(s), marginal + 0.5 * (x[1500:] - 0.8 * (w[1500:] ** 2 - 1))[:, 0] ** 2)
    assert correlation > 0.95
    assert 0.8 < slope < 1.2


def test_weighted_rows_count_as_often_as_their_weight_says():
    """Rows that contradict the others, with no weight to speak of, leave no trace."""
    x, w, log_s = gaussian_texts(2000, 4, 2, 1.0, seed=0)
    x[1000:] = -x[1000:]
    weight = np.r_[np.ones(1000), np.full(1000, 1e-9)]
    s = GaussianAssignment().fit(x, w, weight).stabilized_weight(x[:1000], w[:1000])
    correlation, slope = fit_quality(np.log(s), log_s[:1000])
    assert correlation > 0.95
    assert 0.8 < slope < 1.2


def test_constant_covariates_more_dimensions_than_rows_and_a_single_text():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 100))
    s = GaussianAssignment().fit(x, np.ones((40, 2)), np.ones(40)).stabilized_weight(x, np.full((40, 2), 7.0))
    np.testing.assert_array_equal(s, 1)
    s = (
        GaussianAssignment()
        .fit(x, rng.normal(size=(40, 2)), np.ones(40))
        .stabilized_weight(x, rng.normal(size=(40, 2)))
    )
    assert np.isfinite(s).all()
    assert (s > 0).all()
    same = np.ones((40, 3))
    np.testing.assert_array_equal(
        GaussianAssignment().fit(same, w=x[:, :1], weight=np.ones(40)).stabilized_weight(same, x[:, :1]), 1
    )


def test_a_text_that_gives_the_reader_away_has_finite_weights():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(500, 1))
    x = np.hstack([w + 1e-6 * rng.normal(size=(500, 1)), rng.normal(size=(500, 2))])
    s = GaussianAssignment().fit(x, w, np.ones(500)).stabilized_weight(x, w)
    assert np.isfinite(s).all()
    assert (s > 0).all()


def test_canonical_pairs_give_the_gaussian_log_density_ratio():
    rng = np.random.default_rng(0)
    phi, noise = rng.normal(size=(400, 2)), rng.normal(size=(400, 5))
    u = phi @ rng.normal(size=(2, 5)) + noise
    u = PrincipalCoordinates.of(u, np.ones(400)).transform(u)
    path = RegressionPath.of(moments := RegressionMoments.of(u, phi, np.ones(400)))
    design = np.c_[np.ones(400), phi]
    coefficients = np.linalg.lstsq(design, u)[0]
    residual = u - design @ coefficients
    sigma = residual.T @ residual / 400
    fitted = design @ coefficients
    total = sigma + np.cov(fitted.T, bias=True)
    expected = sum(multivariate_normal(np.zeros(5), sigma).logpdf(residual))
    expected -= sum(multivariate_normal(fitted.mean(axis=0), total).logpdf(u))
    assert path.gains(moments, 5)[0, 0, -1] == pytest.approx(expected, rel=1e-6)
    slope = path.slope(CanonicalSettings(coordinates=5, rank=2, penalty=0.0, shrinkage=0.0))
    np.testing.assert_allclose(slope, coefficients[1:] @ np.linalg.inv(sigma), rtol=1e-5, atol=1e-8)


def _one_by_one(u, phi, out, penalty, shrinkage):
    """Held-out gain of each rank, and S at full rank, by a regression, an eigendecomposition and an SVD of their own.

    The canonical pairs as written down by Izenman (1975), with nothing shared between settings.
    """
    n, (m, f) = len(u) - out.sum(), (out.sum(), phi.shape[1])
    center = phi[~out].mean(axis=0)
    predictors, q = phi - center, u.shape[1]
    inner = predictors[~out]
    slopes = np.linalg.solve(inner.T @ inner + (penalty + 1e-9) * n * np.eye(f), inner.T @ u[~out])
    rest = u[~out] - inner @ slopes
    variances, axes = np.linalg.eigh(rest.T @ rest / n)
    variances = np.maximum((1 - shrinkage) * variances + shrinkage * variances.mean(), UNFORESEEN)
    whiten = axes / np.sqrt(variances)
    _, singular, rotation = np.linalg.svd(inner @ slopes @ whiten / np.sqrt(n), full_matrices=False)
    text = whiten @ rotation[: min(f, q)].T
    z, mean, spread = u[out] @ text, predictors[out] @ slopes @ text, singular[: min(f, q)] ** 2
    log_ratio = -0.5 * (z - mean) ** 2 + 0.5 * z**2 / (1 + spread) + 0.5 * np.log1p(spread)
    assert len(z) == m
    return np.cumsum(log_ratio.sum(axis=0)), slopes @ text @ text.T


@pytest.mark.parametrize(("d", "f", "stretched"), [(12, 3, ()), (12, 3, (2, 11)), (3, 7, ()), (40, 1, (0,))])
def test_every_setting_is_what_it_is_alone(d, f, stretched):
    """Directions of negligible variance may not be whitened exactly: some have a variance of four here."""
    rng = np.random.default_rng(d)
    phi = rng.normal(size=(300, f)) + 0.4
    x = phi @ rng.normal(size=(f, d)) * 0.3 + rng.normal(size=(300, d))
    out = np.arange(300) % 3 == 0
    u = PrincipalCoordinates.of(x[~out], np.ones(200)).transform(x)
    u[:, list(stretched)] *= 2.0
    split = RegressionSplit(*(RegressionMoments.of(u[part], phi[part], np.ones(part.sum())) for part in (~out, out)))
    path = RegressionPath.of(split.fitted)
    for coordinates in {d, min(4, d)}:
        gains = path.gains(split.left_out, coordinates)
        for i, penalty in enumerate(PENALTIES):
            for j, shrinkage in enumerate(SHRINKAGES):
                alone, slope = _one_by_one(u[:, :coordinates], phi, out, penalty, shrinkage)
                np.testing.assert_allclose(gains[i, j], alone, rtol=1e-8, atol=1e-7)
                rank = min(f, coordinates)
                found = path.slope(CanonicalSettings(coordinates, rank, penalty, shrinkage))
                np.testing.assert_allclose(found[:, :coordinates], slope, rtol=1e-8, atol=1e-8)
                assert not found[:, coordinates:].any()


def test_collinear_covariates_are_the_few_directions_they_vary_in():
    """A ridge regression does not change if phi is rotated into more columns; further ranks add nothing."""
    rng = np.random.default_rng(0)
    few = rng.normal(size=(300, 3)) + 0.4
    rotation = np.linalg.qr(rng.normal(size=(8, 3)))[0].T
    out = np.arange(300) % 3 == 0
    x = 0.3 * few @ rng.normal(size=(3, 12)) + rng.normal(size=(300, 12))
    u = PrincipalCoordinates.of(x[~out], np.ones(200)).transform(x)
    narrow, wide = (
        RegressionSplit(*(RegressionMoments.of(u[part], phi[part], np.ones(part.sum())) for part in (~out, out)))
        for phi in (few, few @ rotation)
    )
    path, collinear = RegressionPath.of(narrow.fitted), RegressionPath.of(wide.fitted)
    assert collinear.axes.shape == (8, 3)
    for coordinates, ranks in ((12, 8), (4, 4)):
        gains = collinear.gains(wide.left_out, coordinates)
        assert gains.shape[-1] == ranks
        alone = path.gains(narrow.left_out, coordinates)
        np.testing.assert_allclose(gains[..., :3], alone, rtol=1e-8, atol=1e-7)
        np.testing.assert_array_equal(gains[..., 3:], gains[..., 2:-1])
    settings = CanonicalSettings(coordinates=12, rank=2, penalty=0.01, shrinkage=0.1)
    np.testing.assert_allclose(collinear.slope(settings), rotation.T @ path.slope(settings), rtol=1e-8, atol=1e-9)


def test_covariates_that_are_all_constant_leave_a_direction_that_gains_nothing():
    u = np.random.default_rng(0).normal(size=(60, 3))
    moments = RegressionMoments.of(u - u.mean(axis=0), np.zeros((60, 2)), np.ones(60))
    np.testing.assert_allclose(RegressionPath.of(moments).gains(moments, 3), 0.0, atol=1e-6)


def test_sums_of_weighted_rows_are_sums_over_rows():
    rng = np.random.default_rng(0)
    u, phi, weight = rng.normal(size=(30, 3)), rng.normal(size=(30, 2)), rng.integers(0, 4, 30).astype(float)
    moments = RegressionMoments.of(u, phi, weight)
    rows = list(zip(u, np.c_[np.ones(30), phi], weight, strict=True))
    np.testing.assert_allclose(moments.texts, sum(a * np.outer(one, one) for one, _, a in rows), atol=1e-12)
    np.testing.assert_allclose(moments.cross, sum(a * np.outer(f, one) for one, f, a in rows), atol=1e-12)
    np.testing.assert_allclose(moments.features, sum(a * np.outer(f, f) for _, f, a in rows), atol=1e-12)


def test_a_sample_is_drawn_in_proportion_to_the_weights_of_the_rows_that_count():
    weight = np.tile([0.0, 1.0, 3.0], 400)
    (texts, text_weight), (readers, reader_weight) = drawn_rows(weight, 700, seed=0)
    for rows, drawn_weight in ((texts, text_weight), (readers, reader_weight)):
        assert drawn_weight.tolist() == [1.0] * 700
        assert set(rows % 3) == {1, 2}
        assert np.mean(rows % 3 == 2) == pytest.approx(0.75, abs=0.06)  # 3.7 standard errors
    assert not np.array_equal(texts, readers)
    for rows, own_weight in drawn_rows(weight, 800, seed=0):
        assert rows.tolist() == np.flatnonzero(weight).tolist()
        np.testing.assert_array_equal(own_weight, weight[rows])


def test_information_is_the_mean_log_ratio_of_rows_whose_margins_are_of_the_others():
    rng = np.random.default_rng(3)
    x, w, _ = gaussian_texts(900, 4, 2, 1.0, seed=3)
    weight = rng.integers(0, 3, 900).astype(float)
    model = GaussianAssignment().fit(x, w, weight)
    phi, fold = model.features_.transform(w), inner_folds(np.arange(900), 5, 0)
    log_ratio = np.empty(900)
    for k in range(5):
        rest, out = fold != k, fold == k
        u = PrincipalCoordinates.of(x[rest], weight[rest]).transform(x)
        path = RegressionPath.of(RegressionMoments.of(u[rest], phi[rest], weight[rest]))
        readers = phi @ path.slope(model.settings_) * model.strength_
        (texts, text_weight), (others, other_weight) = drawn_rows(weight * rest, 400, seed=0)
        assert not np.array_equal(texts, others)
        normalizer = Normalizer.of(u[texts], readers[others], text_weight, other_weight)
        log_ratio[out] = normalizer.log_ratio(u[out], readers[out])
    assert model.information_ == pytest.approx(np.average(log_ratio, weights=weight), rel=1e-4)


def test_margins_of_the_fit_are_over_a_sample_of_texts_and_another_of_readers():
    x, w, _ = gaussian_texts(300, 4, 2, 1.0, seed=3)
    model = GaussianAssignment(sample=50).fit(x, w, np.ones(300))
    (texts, _), (readers, _) = drawn_rows(np.ones(300), 50, seed=0)
    u, slopes = model.coordinates_.transform(x), model.features_.transform(w) @ model.slope_
    for found, rows in ((model.normalizer_.texts, u[texts]), (model.normalizer_.readers, slopes[readers])):
        np.testing.assert_allclose(np.unique(found, axis=0), np.unique(rows, axis=0), atol=1e-9)


def test_of_settings_that_tie_the_first_is_chosen():
    """A constant covariate adds directions of no spread, whose gains are the last bits of zero."""
    rng = np.random.default_rng(0)
    phi = np.c_[rng.normal(size=(400, 1)), np.zeros((400, 3))]
    u = 0.5 * phi[:, :1] * np.eye(6)[0] + rng.normal(size=(400, 6))
    splits = []
    for k in range(4):
        out = np.arange(400) % 4 == k
        v = PrincipalCoordinates.of(u[~out], np.ones(300)).transform(u)
        splits.append(
            RegressionSplit(*(RegressionMoments.of(v[part], phi[part], np.ones(part.sum())) for part in (~out, out)))
        )
    settings, gain = choose_settings(splits)
    paths = [RegressionPath.of(split.fitted) for split in splits]
    best = [
        sum(path.gains(split.left_out, q)[..., :4] for path, split in zip(paths, splits, strict=True)) / 400
        for q in (4, 6)
    ]
    assert gain == pytest.approx(max(gains.max() for gains in best), abs=1e-9)
    assert gain > 0.05
    assert settings.rank == 1


def test_margins_are_one_by_brute_force():
    rng = np.random.default_rng(0)
    texts, readers = rng.normal(size=(30, 2)), 3 * rng.normal(size=(40, 2))
    p, q = rng.random(30), rng.random(40)
    margins = Normalizer.of(texts, readers, p, q)
    ratio = np.exp(margins.log_ratio(np.repeat(texts, 40, axis=0), np.tile(readers, (30, 1)))).reshape(30, 40)
    np.testing.assert_allclose(ratio @ q / q.sum(), 1, atol=1e-4)
    np.testing.assert_allclose(p @ ratio / p.sum(), 1, atol=1e-4)


def test_margins_of_a_gaussian_are_the_analytic_ones():
    """x | w ~ N(w, 1), w ~ N(0, 0.6^2): log r = w x - w^2/2 + x^2/2 - x^2 / (2 * 1.36) - log(1.36)/2."""
    rng = np.random.default_rng(0)
    w = 0.6 * rng.normal(size=3000)
    x = w + rng.normal(size=3000)
    margins = Normalizer.of(x[:, None], w[:, None], np.ones(3000), np.ones(3000))
    new_w = np.linspace(-1.2, 1.2, 50)
    new_x = new_w + np.linspace(-1.5, 1.5, 50)
    analytic = -0.5 * (new_x - new_w) ** 2 + 0.5 * new_x**2 / 1.36 + 0.5 * np.log(1.36)
    np.testing.assert_allclose(margins.log_ratio(new_x[:, None], new_w[:, None]), analytic, atol=0.1)


def test_margins_do_not_overflow():
    rng = np.random.default_rng(0)
    texts, readers = 100 * rng.normal(size=(50, 2)), 100 * rng.normal(size=(60, 2))
    assert np.isfinite(Normalizer.of(texts, readers, np.ones(50), np.ones(60)).log_ratio(texts, readers[:50])).all()


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_margins_are_right_where_ratios_span_more_than_a_float_holds(scale):
    """Steps in logarithms alone left margins that were off by 0.09 nats at the larger scale."""
    rng = np.random.default_rng(0)
    texts, readers = rng.normal(size=(200, 6)), scale * rng.normal(size=(200, 6))
    share = np.full(200, 1 / 200)
    pairs = texts @ readers.T
    log_text, log_reader = margins_in_logs(pairs, share, share)
    of_text = logsumexp(pairs + log_reader, axis=1) + log_text - np.log(share)
    of_reader = logsumexp(pairs.T + log_text, axis=1) + log_reader - np.log(share)
    assert np.abs(of_text).max() < 1e-5
    assert np.abs(of_reader).max() < 1e-5
    plain = margins(pairs, share, share)
    np.testing.assert_allclose(log_text[:, None] + log_reader, plain[0][:, None] + plain[1], atol=1e-3)


def test_equal_texts_and_readers_count_with_their_weights_together():
    rng = np.random.default_rng(0)
    texts, readers, weight = rng.normal(size=(20, 3)), rng.normal(size=(15, 3)), rng.random(20) + 0.5
    twice = np.r_[np.arange(20), np.arange(5)]
    split = np.r_[0.3 * weight[:5], weight[5:], 0.7 * weight[:5]]
    once = Normalizer.of(texts, readers, weight, np.ones(15))
    found = Normalizer.of(texts[twice], readers, split, np.ones(15))
    assert len(found.texts) == 20
    np.testing.assert_allclose(found.log_ratio(texts[:15], readers), once.log_ratio(texts[:15], readers), atol=1e-10)
