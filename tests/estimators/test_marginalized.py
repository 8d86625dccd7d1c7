"""Ratios in embedding space against laws whose ratio is known."""

import warnings

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from causalopt.density_ratio import TwoSamples, _fit, candidates, held_out_log_odds
from causalopt.errors import DataError, OverlapWarning
from causalopt.evaluation import marginal_log_ratio, mdr, mips, overlap, snipw


def slope(truth, found):
    """Of the truth on what was found: 1 when calibrated, below when over-confident."""
    return float(np.cov(truth, found)[0, 1] / np.var(found, ddof=1))


@pytest.mark.parametrize("dimensions", [2, 16])
def test_normal_laws_that_differ_in_mean_and_spread(dimensions):
    rng = np.random.default_rng(0)
    mean = np.zeros(dimensions)
    mean[0] = 0.7
    spread = np.ones(dimensions)
    spread[1] = 0.8
    logged = rng.normal(size=(3000, dimensions))
    policy = mean + spread * rng.normal(size=(3000, dimensions))
    truth = -0.5 * (((logged - mean) / spread) ** 2 - logged**2).sum(axis=1) - np.log(spread).sum()
    found = marginal_log_ratio(logged, policy)
    assert np.corrcoef(truth, found)[0, 1] > 0.97
    assert slope(truth, found) == pytest.approx(1.0, abs=0.1)
    # E[rho] = 1 on the logged texts; 3,000 rows know their mean ratio to about 2%
    assert np.exp(found).mean() == pytest.approx(1.0, abs=0.08)


def test_laws_that_are_not_normal():
    rng = np.random.default_rng(1)
    logged = rng.exponential(1.0, size=(4000, 3))
    policy = rng.exponential([0.7, 1.0, 1.0], size=(4000, 3))
    truth = -np.log(0.7) - logged[:, 0] / 0.7 + logged[:, 0]
    found = marginal_log_ratio(logged, policy)
    assert np.corrcoef(truth, found)[0, 1] > 0.95
    assert slope(truth, found) == pytest.approx(1.0, abs=0.15)


def test_any_classifier_will_do():
    rng = np.random.default_rng(2)
    logged, policy = rng.uniform(-1, 1, size=(3000, 1)), rng.uniform(-1, 1, size=(6000, 1))
    keep = rng.uniform(size=6000) < np.where(np.abs(policy[:, 0]) > 0.5, 0.75, 0.25)
    truth = np.where(np.abs(logged[:, 0]) > 0.5, np.log(1.5), np.log(0.5))
    trees = HistGradientBoostingClassifier(max_leaf_nodes=6, max_iter=40, random_state=0)
    found = marginal_log_ratio(logged, policy[keep], classifier=trees)
    assert np.corrcoef(truth, found)[0, 1] > 0.95
    assert slope(truth, found) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("dimensions", "far", "tolerance"),
    [(4, 10.0, 1e-4), (140, 1.0, 0.01)],  # 140 columns are left to L-BFGS
)
def test_candidates_are_the_pipelines_of_scikit_learn_on_all_rows(dimensions, far, tolerance):
    """Texts repeat in several folds, exposures differ, some texts are far off; one column is rounding.

    The pipelines do without that column.
    """
    rng = np.random.default_rng(12)
    texts = rng.normal(1.0, size=(90, dimensions))
    texts[:9] *= far
    texts[:, -1] = np.pi + rng.choice([0.0, 5e-16], 90)
    logged, policy = rng.integers(0, 90, 300), 89 - (90 * rng.beta(1, 2, 200)).astype(int)
    sample = TwoSamples.of(texts[logged], texts[policy], weight=rng.uniform(0.1, 3.0, 300))
    sample = sample.with_draws_of_rows(rng.integers(0, 300, 200))
    unit = np.sqrt(np.mean(np.var(sample.x, axis=0)))
    x = sample.x[:, :-1]
    raw = FunctionTransformer(lambda x: x / unit)
    squared = StandardScaler(), FunctionTransformer(lambda x: np.hstack([x, x**2])), StandardScaler()
    pipelines = [
        make_pipeline(*features, LogisticRegression(C=strength, tol=1e-10, max_iter=10_000))
        for strength in (0.001, 0.01, 0.1, 1.0)
        for features in ([raw], squared)
    ]
    for candidate, pipeline in zip(candidates(sample.x), pipelines, strict=True):
        expected = np.empty(500)
        for fold in range(5):
            held, rest = sample.fold == fold, sample.fold != fold
            model = clone(pipeline).fit(
                x[rest], sample.label[rest], logisticregression__sample_weight=sample.weight[rest]
            )
            expected[held] = model.decision_function(x[held])
        np.testing.assert_allclose(held_out_log_odds(candidate, sample), expected, rtol=tolerance, atol=tolerance)
    assert np.ptp(expected) > 1


def test_log_odds_of_a_text_far_off_are_bounded():
    rng = np.random.default_rng(14)
    logged, policy = rng.normal(size=(100, 1)), rng.normal(0.7, 1.0, size=(100, 1))
    logged[0] = -1000.0
    sample = TwoSamples.of(logged, policy)
    for candidate in candidates(rng.normal(size=(10, 1))):
        assert np.abs(held_out_log_odds(candidate, sample)).max() < 20.8  # that of one in 1e9
    assert held_out_log_odds(candidate, sample)[0] < -20


def test_steps_that_overshoot_are_shortened():
    """A few texts far off, and weights that differ by powers of ten: with full steps, the slope is -8,000."""
    rng = np.random.default_rng(1501)
    z = rng.standard_t(0.3, size=(50, 1))
    z /= z.std()
    label, weight = rng.permutation(50) % 2, np.exp(4 * rng.normal(size=50))
    slope, intercept = _fit(z, label, weight, 1.0)
    residual = weight * (expit(slope * z[:, 0] + intercept) - label)
    # The gradient of the penalised likelihood is zero.
    assert residual.sum() / weight.sum() == pytest.approx(0.0, abs=1e-6)
    assert (z[:, 0] @ residual + slope) / weight.sum() == pytest.approx(0.0, abs=1e-6)


def test_an_over_confident_classifier_is_pulled_back():
    """Two equal laws: trees left to grow see differences that are not there."""
    rng = np.random.default_rng(3)
    trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.5, random_state=0)
    found = marginal_log_ratio(rng.normal(size=(500, 8)), rng.normal(size=(500, 8)), classifier=trees)
    assert overlap(found).ess_fraction > 0.9


def test_over_confident_scores_of_a_real_difference_are_calibrated():
    rng = np.random.default_rng(10)
    logged, policy = rng.normal(size=(1000, 4)), rng.normal([0.7, 0, 0, 0], 1.0, size=(1000, 4))
    trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.5, random_state=0)
    found = marginal_log_ratio(logged, policy, classifier=trees)
    assert slope(0.7 * logged[:, 0] - 0.245, found) == pytest.approx(1.0, abs=0.25)  # near 0.1 without


def test_the_sizes_of_the_samples_do_not_matter():
    rng = np.random.default_rng(11)
    logged = rng.normal(size=(4000, 1))
    for m in (1000, 8000):
        found = marginal_log_ratio(logged, rng.normal(0.5, 1, size=(m, 1)))
        assert np.exp(found).mean() == pytest.approx(1.0, abs=0.1)


def test_exposures_change_the_logged_law():
    rng = np.random.default_rng(4)
    logged = rng.normal(size=(4000, 1))
    weight = np.exp(0.5 * logged[:, 0])  # the exposed texts are N(0.5, 1)
    policy = rng.normal(0.5, 1, size=(4000, 1))
    assert np.std(marginal_log_ratio(logged, policy, weight=weight)) < 0.08
    assert np.std(marginal_log_ratio(logged, policy)) > 0.4


def test_the_unit_of_the_embedding_and_the_order_of_policy_texts_do_not_matter():
    rng = np.random.default_rng(5)
    logged, policy = rng.normal(size=(500, 4)), rng.normal(0.3, 1, size=(400, 4))
    found = marginal_log_ratio(logged, policy, group=np.arange(500))
    scaled = marginal_log_ratio(1000 * logged, 1000 * policy, group=np.arange(500))
    np.testing.assert_allclose(found, scaled, rtol=1e-3, atol=1e-4)
    assert np.array_equal(found, marginal_log_ratio(logged, policy, group=np.arange(500)))


def test_equal_texts_share_a_fold():
    """A text must not be scored by a classifier that saw its copies: one that memorises would know it again."""
    rng = np.random.default_rng(6)
    texts = rng.normal(size=(60, 5))
    logged, policy = rng.integers(0, 60, 300), rng.integers(0, 60, 200)
    for group in (None, logged // 7):
        sample = TwoSamples.of(texts[logged], texts[policy], group=group)
        fold_of = {}
        labels = logged if group is None else group
        for label, fold in zip(labels, sample.fold[:300], strict=True):
            assert fold_of.setdefault(label, fold) == fold
        for text, fold in zip(policy, sample.fold[300:], strict=True):
            folds = set(sample.fold[:300][logged == text])
            assert not folds or fold in folds


def test_texts_apart_warn_with_the_number():
    rng = np.random.default_rng(7)
    with pytest.warns(OverlapWarning, match=r"area under the curve of 1\.000"):
        found = marginal_log_ratio(rng.normal(size=(200, 2)), rng.normal(20, 1, size=(200, 2)))
    assert np.isfinite(found).all()


def test_value_where_the_sequence_ratio_has_given_out():
    """The outcome depends on two features of a long text; its other words make the sequence ratio useless."""
    rng = np.random.default_rng(8)
    n, truth, marginal, sequence = 2000, 0.5, [], []
    for _ in range(20):
        logged = rng.normal(size=(n, 2))
        policy = rng.normal([0.5, 0.0], 1.0, size=(n, 2))
        y = logged[:, 0] + rng.normal(size=n)
        exact = 0.5 * logged[:, 0] - 0.125
        noise = rng.normal(-8.0, 4.0, n)  # log-ratio of 200 words that move nobody
        found = marginal_log_ratio(logged, policy, folds=2)
        marginal.append(mips(found, y).value - truth)
        assert mips(found, y).value == snipw(found, y).value
        assert mdr(found, y, logged[:, 0], policy[:, 0]).se < mips(found, y).se
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverlapWarning)
            sequence.append(snipw(exact + noise, y).value - truth)
    assert np.sqrt(np.mean(np.square(marginal))) < 0.1
    assert np.sqrt(np.mean(np.square(sequence))) > 0.4


def test_bad_input_is_named():
    x = np.random.default_rng(9).normal(size=(20, 3))
    with pytest.raises(DataError, match="3 dimensions and x_policy 2"):
        marginal_log_ratio(x, x[:, :2])
    with pytest.raises(DataError, match="5 folds cannot be made of 1 groups"):
        marginal_log_ratio(x, x, group=np.zeros(20))
    with pytest.raises(DataError, match=r"x_policy\[0, 1\] is nan"):
        marginal_log_ratio(x, np.array([[0.0, np.nan, 0.0]]))
    with pytest.raises(DataError, match="x_policy 0"):
        marginal_log_ratio(x, np.empty((0, 3)))
