"""The value from a calibrated judge: its formula, what it must not depend on, its coverage, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from causalopt.errors import DataError, OverlapError
from causalopt.estimators.dm import ContextDraws
from causalopt.evaluation import calibrate_scores, calibrated_judge

FOLD = np.arange(60) % 3


def table(seed: int = 0):
    rng = np.random.default_rng(seed)
    score, drawn = rng.uniform(size=60), rng.uniform(size=40)
    xi = 2 * score + rng.normal(size=60)
    alpha = rng.uniform(0.5, 1.5, size=60)
    return alpha / alpha.mean(), xi, score, drawn * (score.max() - score.min()) + score.min()


def test_the_formula() -> None:
    alpha, xi, score, drawn = table()
    plug_in, correction = 0.0, 0.0
    for k in range(3):
        rest, own = k != FOLD, k == FOLD
        f = IsotonicRegression(out_of_bounds="clip").fit(score[rest], xi[rest])
        plug_in += alpha[own].sum() / 60 * f.predict(drawn).mean()
        correction += np.sum(alpha[own] * (xi[own] - f.predict(score[own]))) / 60
    found = calibrated_judge(alpha, xi, score, drawn, fold=FOLD)
    assert found.details["plug_in"] == pytest.approx(plug_in, rel=1e-12)
    assert found.details["correction"] == pytest.approx(correction, rel=1e-12)
    assert found.value == pytest.approx(plug_in + correction, rel=1e-12)


def test_what_the_value_does_not_depend_on() -> None:
    alpha, xi, score, drawn = table()
    found = calibrated_judge(alpha, xi, score, drawn, fold=FOLD)
    # A judge that gives low scores to good texts knows as much.
    turned = calibrated_judge(alpha, xi, -score, -drawn, fold=FOLD)
    assert (turned.value, turned.se) == pytest.approx((found.value, found.se), rel=1e-9)
    # A constant in the outcome is one in the value, and in no standard error.
    raised = calibrated_judge(alpha, xi + 5, score, drawn, fold=FOLD)
    assert (raised.value - 5, raised.se) == pytest.approx((found.value, found.se), rel=1e-9)
    # The unit of the scores.
    other = calibrated_judge(alpha, xi, 100 * score - 3, 100 * drawn - 3, fold=FOLD)
    assert other.value == pytest.approx(found.value, rel=1e-9)
    # What is written where no outcome was observed.
    rated = np.arange(60) % 2 == 0
    weights = np.where(rated, alpha, 0) / np.where(rated, alpha, 0).mean()
    values = [
        calibrated_judge(weights, np.where(rated, xi, unknown), score, drawn, fold=FOLD, observed=rated).value
        for unknown in (0.0, np.nan, 1e6)
    ]
    assert values[0] == values[1] == values[2]


def test_a_policy_minus_itself() -> None:
    alpha, xi, score, drawn = table()
    rows = ContextDraws(drawn, np.arange(40), 60)
    for scores in (drawn, rows):
        one, other = (calibrated_judge(alpha, xi, score, scores, fold=FOLD) for _ in range(2))
        assert ((one - other).value, (one - other).se) == (0.0, 0.0)


def test_a_logged_text_gets_the_regression_that_never_saw_it() -> None:
    alpha, xi, score, _ = table()
    found = calibrate_scores(score, xi, fold=FOLD)
    assert np.array_equal(found.at(score, alpha, found.fold), found.of_rows)
    unseen = found.at(score, alpha, np.full(60, -1))
    assert not np.allclose(unseen, found.of_rows)
    assert np.array_equal(unseen, found.at(score, alpha))


def test_refusals() -> None:
    alpha, xi, score, drawn = table()
    beyond = drawn.copy()
    beyond[:4] = 9.0  # a tenth
    calibrated_judge(alpha, xi, score, beyond, fold=FOLD)
    beyond[4] = -9.0
    with pytest.raises(OverlapError, match="12% of the texts that the policy writes have scores unlike"):
        calibrated_judge(alpha, xi, score, beyond, fold=FOLD)
    with pytest.raises(DataError, match="9 rows have an outcome: at least 10"):
        calibrate_scores(score, xi, observed=np.arange(60) < 9)
    with pytest.raises(DataError, match="6 clusters have an outcome"):
        calibrate_scores(score, xi, cluster=np.arange(60) // 10)
    with pytest.raises(DataError, match="leaves 0 clusters"):
        calibrate_scores(score, xi, observed=FOLD == 0, fold=FOLD)
    with pytest.raises(DataError, match="observed must be 0 or 1"):
        calibrate_scores(score, xi, observed=np.full(60, 2))
    with pytest.raises(DataError, match="not a single number"):
        calibrated_judge(alpha, xi, score, 1.0)
    with pytest.raises(OverlapError, match="sum of the weights"):
        calibrate_scores(score, xi, fold=FOLD).at(score, np.zeros(60))


def test_coverage_with_few_outcomes_and_a_judge_that_errs() -> None:
    """300 tables: 600 texts, of which a tenth has an outcome; the judge is too fond of texts that the policy writes.

    With a true coverage of 0.95 fewer than 270 of 300 are covered with probability 3e-4, and all but two or fewer with
    probability 1e-4.
    """
    covered, short, biased = 0, 0, []
    for seed in range(300):
        rng = np.random.default_rng([seed, 31])
        quality, style = rng.normal(size=(2, 600))
        score = np.exp(0.5 * quality + 0.5 * style)
        y = quality + 0.5 * rng.normal(size=600)
        rated = np.zeros(600, dtype=bool)
        rated[rng.choice(600, 60, replace=False)] = True
        # The policy shifts style by 0.4, which changes nothing but the judge's score.
        ratio = np.exp(0.4 * style - 0.08)
        alpha = np.where(rated, ratio, 0.0)
        alpha /= alpha.mean()
        drawn = np.exp(0.5 * rng.normal(size=3000) + 0.5 * (0.4 + rng.normal(size=3000)))
        try:
            found = calibrated_judge(alpha, y, score, drawn, observed=rated, seed=seed)
        except OverlapError:
            short += 1
            continue
        low, high = found.confint()
        covered += low <= 0 <= high
        biased.append(found.details["plug_in"])
    assert short <= 15
    assert 270 - short <= covered <= 298
    assert np.mean(biased) > 0.1  # the calibrated scores alone are wrong here
