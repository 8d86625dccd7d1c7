"""Overlap with the logged texts: calibrated on one law, whatever it is, and blind to no gibberish."""

from __future__ import annotations

import numpy as np
import pytest

from causalopt.density_ratio import TwoSamples
from causalopt.diagnostics.support import _distance_to_other_folds, support
from causalopt.embedding.tfidf import TfidfSvdEmbedder
from causalopt.errors import DataError

ANIMALS = ("cat", "dog", "horse", "goose", "mouse", "bear")
DEEDS = ("sees", "follows", "feeds", "fears", "likes")
PLACES = ("in the garden", "by the river", "on the hill", "near our house", "at the old mill")


def sentences(n: int, rng: np.random.Generator) -> list[str]:
    return [
        f"the {rng.choice(ANIMALS)} {rng.choice(DEEDS)} a {rng.choice(ANIMALS)} {rng.choice(PLACES)} "
        f"and a {rng.choice(ANIMALS)} {rng.choice(PLACES)}"
        for _ in range(n)
    ]


LAWS = {
    "normal": lambda n, rng: rng.normal(size=(n, 3)),
    "skewed": lambda n, rng: rng.exponential(size=(n, 3)) ** 2,
    "wide": lambda n, rng: rng.normal(size=(n, 40)),
    "low-rank": lambda n, rng: rng.normal(size=(n, 2)) @ np.array([[1.0, 2, 3, 4], [0.1, 0, -0.1, 0]]),
    "rounded": lambda n, rng: np.round(rng.normal(size=(n, 2)), 1),
}


@pytest.mark.parametrize("law", LAWS)
def test_of_the_logged_law_one_per_cent_is_outside(law):
    """Two rules at half a per cent: at most 1% on average; texts that were logged, or fit both rules, make it less.

    A share of 400 draws has a standard deviation of 0.009 with the limits' own error; the mean of 6 is above 0.02 with
    a probability below 0.01, on fixed draws.
    """
    rng = np.random.default_rng(0)
    found = [support(LAWS[law](400, rng), LAWS[law](400, rng), seed=i) for i in range(6)]
    assert np.mean([one.outside for one in found]) < 0.02
    assert np.mean([one.effective_clusters / one.clusters for one in found]) > 0.85


def test_limits_are_not_slack():
    """Outside of both rules: texts that lie farther from any logged one than 99.5% of these do from each other."""
    rng = np.random.default_rng(1)
    logged = rng.normal(size=(1000, 2))
    ring = rng.normal(size=(200, 2))
    ring *= 4.5 / np.linalg.norm(ring, axis=1, keepdims=True)
    drawn = np.concatenate([rng.normal(size=(800, 2)), ring])
    assert support(logged, drawn).outside == pytest.approx(0.2, abs=0.03)


def test_a_shift_has_the_effective_number_of_the_formula():
    """exp(-d^2) for normal laws d apart; Kish's number of 2,000 has a standard error of a few per cent there."""
    rng = np.random.default_rng(2)
    for distance in (0.3, 0.8):
        found = support(rng.normal(size=(2000, 2)), rng.normal([distance, 0.0], 1.0, size=(2000, 2)))
        assert found.effective_clusters / found.clusters == pytest.approx(np.exp(-(distance**2)), abs=0.08)
        assert found.mean_ratio == pytest.approx(1.0, abs=0.1)


def test_rows_of_a_text_are_one():
    """Forty texts with twenty rows each are forty, and their copies are no neighbours of each other."""
    rng = np.random.default_rng(3)
    texts = rng.normal(size=(40, 2))
    text = np.repeat(np.arange(40), 20)
    found = support(texts[text], rng.normal(size=(300, 2)), cluster=text)
    assert found.clusters == 40
    assert 20 < found.effective_clusters <= 40
    assert found.outside < 0.2  # one in forty by chance, and by the other rule; between copies any distance is beyond


def test_what_lies_off_the_logged_directions_is_outside():
    rng = np.random.default_rng(4)
    axes = rng.normal(size=(2, 8))
    logged, drawn = rng.normal(size=(300, 2)) @ axes, rng.normal(size=(300, 2)) @ axes
    off = np.where(rng.uniform(size=(300, 1)) < 0.1, 10.0, 0.0) * rng.normal(size=(300, 8))
    assert support(logged, drawn + off).outside == pytest.approx(np.mean(off.any(axis=1)), abs=0.03)
    normal_to_axes = np.linalg.svd(axes)[2][2]
    sample = TwoSamples.of(logged, drawn[:100] + 5.0 * normal_to_axes)
    distance = _distance_to_other_folds(sample)
    assert distance[300:].min() > 1.5 > np.quantile(distance[:300], 0.99)
    rounding = 1e-9 * rng.normal(size=(300, 8))
    assert support(logged, drawn + rounding).outside < 0.03


def test_a_hole_that_no_ratio_in_coordinates_and_squares_shows():
    """Logged in two opposite corners of a square, drawn now and then in the other two, with the same marginals."""
    rng = np.random.default_rng(9)

    def corners(n, other):
        first, side = rng.choice([-1, 1], size=n), np.where(rng.uniform(size=n) < other, -1, 1)
        return np.column_stack([first, first * side]) + 0.05 * rng.normal(size=(n, 2))

    assert support(corners(500, 0.0), corners(500, 0.2)).outside == pytest.approx(0.2, abs=0.06)


def test_texts_at_the_centre_of_many_dimensions_are_outside():
    """Where 400 texts are some 5 apart, none is within 3 of the centre: near to all of them, and like none."""
    rng = np.random.default_rng(10)
    assert support(rng.normal(size=(400, 30)), 0.1 * rng.normal(size=(200, 30))).outside > 0.95


def test_policies_over_logged_texts_lie_inside():
    rng = np.random.default_rng(5)
    texts = rng.normal(size=(100, 4))
    logged = texts[rng.integers(0, 100, 500)]
    share = np.exp(texts[:, 0])
    drawn = texts[rng.choice(100, 500, p=share / share.sum())]
    found = support(logged, drawn)
    assert found.outside < 0.02  # the few of the hundred that were not logged
    assert found.effective_clusters < 0.8 * found.clusters
    logged[0] = 20.0  # a text like no other, but logged
    assert support(logged, np.concatenate([logged[1:100], np.full((100, 4), 20.0)])).outside == 0.0


@pytest.mark.parametrize("kind", ["letters", "words"])
def test_gibberish_is_outside_and_counts_for_nothing(kind):
    rng = np.random.default_rng(6)
    real, drawn = sentences(900, rng), sentences(300, rng)
    if kind == "letters":
        drawn = ["".join(rng.permutation(list(text))) for text in drawn]
    else:
        words = " ".join(real).split()
        drawn = [" ".join(rng.choice(words, 12)) for _ in drawn]
    embedder = TfidfSvdEmbedder().fit(real + drawn)
    found = support(embedder.transform(real), embedder.transform(drawn))
    assert found.outside > 0.95
    assert found.effective_clusters < 0.02 * found.clusters
    assert found.mean_ratio < 0.05
    assert "lie outside of what was logged" in found.sentence

    same = sentences(300, rng)
    embedder = TfidfSvdEmbedder().fit(real + same)
    assert support(embedder.transform(real), embedder.transform(same)).outside < 0.04


def test_a_policy_of_one_text_far_away():
    rng = np.random.default_rng(7)
    assert support(rng.normal(size=(200, 3)), np.full((50, 3), 8.0)).outside == 1.0


def test_bad_input_is_named():
    x = np.random.default_rng(8).normal(size=(20, 3))
    with pytest.raises(DataError, match="3 dimensions and x_policy 2"):
        support(x, x[:, :2])
    with pytest.raises(DataError, match="20 logged texts are of 1 cluster"):
        support(np.zeros((20, 3)), x)
