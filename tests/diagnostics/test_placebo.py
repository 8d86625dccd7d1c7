"""Placebo checks find nothing where there is nothing, and something where something was left."""

import numpy as np
import pytest

from causalopt.errors import ConfigError, DataError
from causalopt.evaluation import ipw, placebo_assignment, placebo_outcome, snipw


def test_placebo_outcome_written_out(study):
    s = np.exp(0.3 * study.reader)
    estimate = placebo_outcome(study.log_ratio, study.xi, s=s, weight=study.weight, cluster=study.texts)
    weighted = snipw(study.log_ratio + np.log(s), study.xi, weight=study.weight, cluster=study.texts)
    plain = ipw(np.zeros(study.n), study.xi, weight=study.weight, cluster=study.texts)
    difference = weighted - plain
    np.testing.assert_allclose([estimate.value, estimate.se], [difference.value, difference.se], rtol=1e-10)


def confounded(rng, n=800):
    w = rng.normal(size=n)
    x = 0.4 * w + rng.normal(size=n)
    variance = 1.16
    s = np.exp(-0.5 * np.log(variance) - x**2 / (2 * variance) + 0.5 * (x - 0.4 * w) ** 2)
    log_ratio = 0.3 * x - 0.3**2 * variance / 2  # a policy that shifts x up
    return w, s, log_ratio


def test_placebo_outcome_sees_confounding_and_its_removal(within_binomial):
    rng = np.random.default_rng(0)
    adjusted, raw = [], []
    for _ in range(1000):
        w, s, log_ratio = confounded(rng)
        earlier = w + rng.normal(size=len(w))
        adjusted.append(placebo_outcome(log_ratio, earlier, s=s).test().p_value >= 0.05)
        raw.append(placebo_outcome(log_ratio, earlier).test().p_value < 0.05)
    within_binomial(adjusted, (0.92, 0.97))  # heavy weights: a percent or two below the nominal 0.95
    assert np.mean(raw) > 0.9


def test_placebo_assignment_of_real_effects_and_of_none():
    rng = np.random.default_rng(1)
    log_ratio = rng.normal(-0.08, 0.4, 400)
    effect = placebo_assignment(log_ratio, log_ratio + 0.5 * rng.normal(size=400), repeats=199)
    assert effect.p_value == pytest.approx(1 / 200)
    assert abs(effect.placebo.mean()) < 5 * effect.placebo.std() / np.sqrt(199)
    # 199 permutations: a true rate of 0.05 shows more than 0.15 with probability below 1e-6
    assert effect.rejections < 0.15
    assert effect.observed.value > 5 * effect.placebo.std()


def test_p_values_are_uniform_when_nothing_acts(within_binomial):
    rng = np.random.default_rng(2)
    below = []
    for index in range(600):
        log_ratio = rng.normal(0, 0.4, 60)
        found = placebo_assignment(log_ratio, rng.standard_exponential(60), repeats=19, seed=index)
        below.append(found.p_value > 0.101)
    within_binomial(below, (0.90, 0.90))  # an exact test: P(p <= 2/20) = 0.10


@pytest.mark.parametrize(
    ("texts", "tail", "shock", "whole"), [(20, 1.2, 0.0, False), (400, 0.7, 0.0, True), (400, 0.7, 1.0, True)]
)
def test_texts_shown_unequally_often_are_rejected_as_often_as_stated(within_binomial, texts, tail, shock, whole):
    """Noise, and texts whose log-ratio falls with the number of their rows: P(p <= 1/20) = 0.05, failing below 1e-6.

    Shown by Zipf's law, few texts have hardly two of as many rows, and rows are permuted; of many, whole texts are,
    whose rows may share a shock.
    """
    rng = np.random.default_rng(4)
    share = np.arange(1, texts + 1) ** -tail
    share /= share.sum()
    low = []
    for index in range(400):
        text = rng.choice(texts, 400, p=share)
        xi = rng.normal(size=400) + shock * rng.normal(size=texts)[text]
        found = placebo_assignment(-0.5 * np.log(texts * share)[text], xi, unit=text, repeats=19, seed=index)
        assert found.permuted == ("texts" if whole else "rows")
        low.append(found.p_value < 0.051)
    within_binomial(low, (0.05, 0.05))


def test_whole_texts_trade_with_texts_of_as_many_rows_alone():
    """Only the texts of 30 and 50 rows have a level, and nothing can trade places with them."""
    text = np.repeat(np.arange(14), [1] * 6 + [15] * 6 + [30, 50])
    log_ratio, xi = np.log(np.arange(1.0, 15.0))[text], np.where(text >= 12, 1.0, 0.0)
    found = placebo_assignment(log_ratio, xi, unit=text, repeats=50)
    assert found.permuted == "texts"
    assert found.observed.value > 0.05
    assert found.placebo.std() < 0.5 * found.observed.value  # the ratio's mean moves
    assert found.p_value > 0.05
    rows = placebo_assignment(log_ratio, xi, repeats=50)
    assert rows.permuted == "rows"
    assert rows.p_value == pytest.approx(1 / 51)


def test_an_unclustered_error_shows_in_the_rejections():
    """Each text has 20 rows that share its own level: rows are not what was permuted."""
    rng = np.random.default_rng(3)
    text = np.repeat(np.arange(60), 20)
    log_ratio = rng.normal(0, 0.4, 60)[text]
    xi = rng.normal(size=60)[text] + 0.5 * rng.normal(size=1200)
    clustered = placebo_assignment(log_ratio, xi, unit=text, cluster=text, repeats=200)
    unclustered = placebo_assignment(log_ratio, xi, unit=text, repeats=200)
    assert clustered.rejections < 0.15
    assert unclustered.rejections > 0.4
    assert clustered.p_value > 0.01


def test_bad_input_is_named(study):
    with pytest.raises(DataError, match=r"log_ratio\[\d+\] differs from another row of its unit"):
        placebo_assignment(study.log_ratio, study.xi, unit=study.texts)
    with pytest.raises(DataError, match=r"s\[0\] is negative"):
        placebo_outcome(study.log_ratio, study.xi, s=np.append(-1.0, np.ones(study.n - 1)))
    with pytest.raises(ConfigError, match="repeats"):
        placebo_assignment(study.log_ratio, study.xi, repeats=0)


def test_texts_assigned_by_reader_are_rejected_as_often_as_stated(within_binomial):
    """Each of 40 readers was shown one of two texts and answered ten items: readers are what is permuted.

    P(p <= 1/20) = 0.05 exactly, failing below 1e-6. Permuted by row, nearly half of the tests would reject.
    """
    rng = np.random.default_rng(5)
    reader = np.repeat(np.arange(40), 10)
    low = []
    for index in range(300):
        text = (rng.random(40) < 0.5)[reader].astype(int)
        xi = rng.normal(size=40)[reader] + rng.normal(size=400)
        found = placebo_assignment(1.0 * text, xi, unit=text, reader=reader, cluster=reader, repeats=19, seed=index)
        assert found.permuted == "readers"
        low.append(found.p_value < 0.051)
    within_binomial(low, (0.05, 0.05))


def test_readers_who_were_shown_texts_of_one_kind(within_binomial):
    """50 readers have levels, and see texts of their kind: whole texts are permuted, which breaks up what a reader saw.

    Only clustered errors keep the test near to its level: 200 samples, failing below 1e-6 where the true rate of
    P(p <= 1/20) is in the band. By row more than half would reject.
    """
    rng = np.random.default_rng(6)
    reader, kind_of_text = np.repeat(np.arange(50), 8), np.arange(80) % 2
    low = []
    for index in range(200):
        kind = np.repeat(rng.random(50) < 0.5, 8).astype(int)
        text = 2 * rng.integers(40, size=400) + kind
        xi = 1.5 * rng.normal(size=50)[reader] + rng.normal(size=400)
        log_ratio = (0.8 * kind_of_text + 0.1 * rng.normal(size=80))[text]
        found = placebo_assignment(
            log_ratio, xi, unit=text, reader=reader, cluster=(text, reader), repeats=19, seed=index
        )
        assert found.permuted == "texts"
        low.append(found.p_value < 0.051)
    within_binomial(low, (0.02, 0.10))


def test_rows_are_permuted_within_readers():
    """Texts that nothing can trade places with; an outcome that is the reader's level alone never moves."""
    rng = np.random.default_rng(7)
    text = rng.permutation(np.repeat(np.arange(8), [10, 14, 18, 22, 26, 30, 34, 46]))
    reader = np.arange(200) % 20
    log_ratio, level = rng.normal(size=8)[text], rng.normal(size=20)[reader]
    found = placebo_assignment(log_ratio, level, unit=text, reader=reader, cluster=reader, repeats=20)
    assert found.permuted == "rows"
    np.testing.assert_allclose(found.placebo, found.observed.value, rtol=1e-10)
    assert found.p_value == 1.0
    assert np.ptp(placebo_assignment(log_ratio, level, unit=text, repeats=20).placebo) > 0.01
