"""Win rates against counts by hand, closed forms of other libraries, and a simulation of clustered verdicts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from causalopt.errors import DataError
from causalopt.judges.answers import Answer, Asked
from causalopt.judges.contracts import Pair
from causalopt.judges.win_rate import preferences, win_rate

NAN = math.nan


def pairs(n: int, per_prompt: int = 1) -> list[Pair]:
    return [Pair(f"prompt {i // per_prompt}", f"a {i}", f"b {i}") for i in range(n)]


@pytest.mark.parametrize(("first", "verdict"), [
    ((0.0, 1.0), "win"), ((1.0, 0.0), "loss"), ((1.0, 1.0), "tie"), ((0.0, 0.0), "tie"), ((0.5, 0.5), "tie"),
    ((0.5, 1.0), "win"), ((0.5, 0.0), "loss"), ((0.3, 0.5), "win"),
    ((0.1, 0.4), "tie"),  # the orders contradict each other, however strong one of them is
    ((NAN, 1.0), "undecided"), ((0.0, NAN), "undecided"), ((NAN, NAN), "undecided"),
])  # fmt: skip
def test_the_verdict_of_a_pair(first: tuple[float, float], verdict: str) -> None:
    found = win_rate(pairs(1), [first])
    counts = {"win": found.wins, "tie": found.ties, "loss": found.losses, "undecided": found.undecided}
    assert counts == {name: int(name == verdict) for name in counts}
    value = {"win": 1.0, "tie": 0.5, "loss": 0.0}.get(verdict)
    assert math.isnan(found.value) if value is None else found.value == value
    assert found.win_rate is None  # of one pair there is no error


def test_swapping_a_and_b_turns_everything_round() -> None:
    rng = np.random.default_rng(0)
    first = rng.choice([0.0, 1.0, 0.5, NAN], size=(60, 2))
    asked = pairs(60, 3)
    swapped = [Pair(pair.prompt, pair.second, pair.first) for pair in asked]
    one, other = win_rate(asked, first), win_rate(swapped, first[:, ::-1])
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert one.value + other.value == pytest.approx(1, abs=1e-12)
    assert one.win_rate is not None
    assert other.win_rate is not None
    assert one.win_rate.se == pytest.approx(other.win_rate.se, rel=1e-12)
    assert one.first_position is not None
    assert other.first_position is not None
    assert one.first_position.value == pytest.approx(other.first_position.value, abs=1e-12)


def test_the_interval_of_single_pairs_is_that_of_a_mean() -> None:
    """Of n pairs with prompts of their own, Student's t interval of a mean, and of scipy's one-sample test."""
    rng = np.random.default_rng(1)
    first = rng.choice([0.0, 1.0], size=(40, 2))
    found = win_rate(pairs(40), first)
    score = ((1 - first[:, 0]) + first[:, 1]) / 2
    interval = stats.ttest_1samp(score, 0.5).confidence_interval(0.9)
    assert found.win_rate is not None
    assert found.win_rate.confint(0.9) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (found.clustered_by, found.clusters) == ("prompt", 40)


def test_the_standard_error_is_clustered_by_prompt() -> None:
    """Equal clusters: the error of the mean of the prompts' means, and not that of the pairs."""
    rng = np.random.default_rng(2)
    of_prompt = rng.uniform(size=12)
    first = np.stack([(rng.uniform(size=60) > np.repeat(of_prompt, 5)).astype(float) for _ in range(2)], axis=1)
    first[:, 1] = 1 - first[:, 0]  # orders that agree
    found = win_rate(pairs(60, 5), first)
    means = (1 - first[:, 0]).reshape(12, 5).mean(axis=1)
    assert found.win_rate is not None
    assert found.win_rate.se == pytest.approx(stats.sem(means), rel=1e-12)
    assert found.first_position is not None
    assert found.first_position.value == 0.5
    assert found.first_position.se == pytest.approx(0, abs=1e-12)  # both answers about a pair are in one cluster


def test_without_prompts_texts_are_the_clusters() -> None:
    """Each A's text in four pairs and each B's in three: V_A + V_B - V_AB, not below the larger, by pandas."""
    rng = np.random.default_rng(3)
    grid = [Pair(None, f"a {i}", f"b {j}") for i, j in itertools.product(range(3), range(4))]
    first = rng.choice([0.0, 1.0], size=(12, 2))
    found = win_rate(grid, first)
    frame = pd.DataFrame(grid).assign(score=((1 - first[:, 0]) + first[:, 1]) / 2)
    frame["off"] = frame["score"] - frame["score"].mean()

    def variance(by: list[str]) -> float:
        groups = frame.groupby(by)["off"]
        deleted = -groups.sum() / (12 - groups.size())
        return float((len(deleted) - 1) / len(deleted) * ((deleted - deleted.mean()) ** 2).sum())

    a, b, both = variance(["first"]), variance(["second"]), variance(["first", "second"])
    assert found.win_rate is not None
    assert found.win_rate.se == pytest.approx(math.sqrt(max(a + b - both, a, b)), rel=1e-9)
    assert (found.clustered_by, found.clusters) == ("text", 3)
    once = [Pair("the one prompt", f"a {i}", f"b {i}") for i in range(6)]
    assert win_rate(once, rng.choice([0.0, 1.0], size=(6, 2))).clustered_by == "pair"
    same = [Pair(None, "a", "b")] * 6
    assert win_rate(same, np.tile([0.0, 1.0], (6, 1))).win_rate is None  # one pair of texts, again and again


def test_coverage_of_the_interval(within_binomial) -> None:
    """400 comparisons of 40 prompts with 3 pairs each, win rates that differ by prompt; fails with p < 1e-6.

    Verdicts are independent given the prompt, whose rate of wins is beta distributed with mean 0.6.
    """
    rng, hits = np.random.default_rng(4), []
    for _ in range(400):
        rate = np.repeat(rng.beta(1.5, 1.0, size=40), 3)
        first_a = (rng.uniform(size=120) > rate).astype(float)
        found = win_rate(pairs(120, 3), np.stack([first_a, 1 - first_a], axis=1))
        assert found.win_rate is not None
        low, high = found.win_rate.confint()
        hits.append(low <= 0.6 <= high)
    within_binomial(np.array(hits), (0.93, 0.97))


def test_a_bias_for_a_position_is_seen_and_makes_ties() -> None:
    found = win_rate(pairs(20), np.ones((20, 2)))
    assert (found.ties, found.value) == (20, 0.5)
    assert found.first_position is not None
    assert found.first_position.value == 1.0
    assert found.win_rate is not None
    assert found.win_rate.confint() == (0.5, 0.5)


def test_what_cannot_be_read_is_counted_and_bounds_the_rate() -> None:
    first = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [NAN, 1.0], [NAN, NAN]])
    found = win_rate(pairs(5), first)
    assert (found.wins, found.losses, found.undecided, found.unreadable, found.answers) == (2, 1, 2, 3, 10)
    assert found.value == pytest.approx(2 / 3)
    assert found.bounds == pytest.approx((2 / 5, 4 / 5))
    assert found.first_position is not None
    assert found.first_position.n == 7


def test_equal_texts_are_ties_that_nobody_was_asked_about() -> None:
    asked = [*pairs(3), Pair("prompt 9", "same", "same")]
    found = win_rate(asked, [[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [NAN, NAN]])
    assert (found.wins, found.ties, found.identical, found.undecided) == (2, 2, 1, 0)
    assert (found.answers, found.unreadable) == (6, 0)
    assert found.value == 0.75


def test_preferences_by_order() -> None:
    answers = {Asked("outcome", 1, "BA"): Answer(0.25, "x"), Asked("outcome", 0, "AB"): Answer(None, "?"),
               Asked("coherence", 0, "BA"): Answer(1.0, "A")}  # fmt: skip
    np.testing.assert_array_equal(preferences(pairs(2), answers, "outcome"), [[NAN, NAN], [NAN, 0.25]])


def test_wrong_arrays() -> None:
    with pytest.raises(DataError, match="about 1 pairs, and 2 pairs"):
        win_rate(pairs(2), [[0.0, 1.0]])
    with pytest.raises(DataError, match="between 0 and 1"):
        win_rate(pairs(1), [[0.0, 1.5]])
    assert math.isnan(win_rate([], []).value)
