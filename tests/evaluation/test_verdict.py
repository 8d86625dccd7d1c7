import numpy as np
import pytest

from causalopt.evaluation import Estimate, overlap, thin_overlap, verdict

GOOD = overlap(np.random.default_rng(0).normal(0, 0.3, 1000))
THIN = overlap(np.random.default_rng(0).normal(0, 3.0, 1000))


def difference(value):
    return Estimate(value, np.random.default_rng(0).normal(size=1000))


@pytest.mark.parametrize(
    ("value", "direction", "words"),
    [
        (1.0, "maximize", "is better than"),
        (-1.0, "maximize", "is worse than"),
        (1.0, "minimize", "is worse than"),
        (-1.0, "minimize", "is better than"),
        (0.01, "maximize", "do not tell"),
        (0.01, "minimize", "do not tell"),
    ],
)
def test_the_sentence_follows_the_interval_and_the_direction(value, direction, words):
    text = verdict(difference(value), GOOD, outcome="rating", direction=direction)
    assert words in text
    assert "rating" in text
    assert f"{value:+.4g}" in text
    assert "Overlap" not in text


def test_thin_overlap_is_said_first():
    text = verdict(difference(1.0), THIN)
    assert text.startswith("Overlap is thin: 1000 logged texts say as much about this policy as ")
    assert thin_overlap(GOOD) is None


def test_an_interval_on_a_handful_of_effective_texts_decides_nothing():
    few = overlap(np.random.default_rng(0).normal(0, 3.0, 1000))
    assert few.ess < 30
    text = verdict(difference(1.0), few, robustness_value=0.5)
    assert "do not tell" in text
    assert "fewer than 30 effective texts is not to be relied on" in text
    assert "hidden" not in text


def test_a_heavy_tail_is_thin_too():
    uniform = (np.arange(5000) + 0.5) / 5000
    heavy = overlap(np.log(1 + 0.05 * uniform**-0.9))  # most weights near 1, and a Pareto tail of shape 0.9
    assert heavy.ess_fraction > 0.1
    assert "a few logged texts carry the answer (tail shape 0.8" in (thin_overlap(heavy) or "")


def test_robustness_is_said_only_of_a_finding():
    assert "12.3%" in verdict(difference(1.0), GOOD, robustness_value=0.123)
    assert "hidden" not in verdict(difference(0.0), GOOD, robustness_value=0.0)
