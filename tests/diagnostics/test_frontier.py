"""The point that is chosen, against bounds computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalopt.diagnostics.frontier import Point, choose_point
from causalopt.estimators.estimate import Estimate


def estimate(value, sd, n=400, seed=0):
    noise = np.random.default_rng(seed).normal(size=n)
    return Estimate(value, sd * (noise - noise.mean()) / noise.std())


def point(factor, value, sd, barred=None):
    return Point(factor, factor, 0.01, estimate(value, sd, seed=int(100 * factor)), 200.0, 0.0, barred)


def test_the_largest_bound_is_chosen_and_not_the_largest_gain():
    found = choose_point([point(0.5, 0.4, 2.0), point(1.0, 0.7, 8.0), point(0.25, 0.2, 1.0)], rows=400)
    assert found.frame["factor"].tolist() == [0.25, 0.5, 1.0]
    assert found.chosen == 0.5
    own = estimate(0.4, 2.0, seed=50)
    np.testing.assert_allclose(found.frame.loc[1, "bound"], 0.4 - stats.t.ppf(0.95, own.df) * own.se)
    assert "0.500 nats was chosen" in found.sentence
    # The band contains all three at once: it is wider than each interval.
    assert (found.frame["ci_low"] < found.frame["bound"]).all()


def test_where_smaller_is_better_the_upper_end_counts():
    points = [point(0.5, -0.4, 2.0), point(1.0, 0.7, 2.0)]
    found = choose_point(points, rows=400, direction="minimize")
    assert found.chosen == 0.5
    assert found.frame.loc[0, "bound"] == pytest.approx(estimate(-0.4, 2.0, seed=50).confint(0.9)[1])


def test_thin_and_unknown_points_are_not_chosen():
    unknown = Point(1.5, 2.0, 0.1, None, 0.0, None, "one row carries the whole weight")
    found = choose_point([point(0.5, 0.2, 1.0), point(1.0, 0.9, 1.0, "Overlap is thin."), unknown], rows=400)
    assert found.chosen == 0.5
    assert found.frame["gain"].isna().tolist() == [False, False, True]
    nothing = choose_point([point(1.0, 0.9, 1.0, "Overlap is thin."), unknown], rows=400)
    assert nothing.chosen == 0.0
    assert "no other can be judged. Overlap is thin." in nothing.sentence


def test_the_reference_has_bound_zero_and_the_rows_that_would_tell_are_said():
    """z se / gain = 1.65 * 0.1 / 0.1: (1.65)^2 times the rows would make the bound zero."""
    found = choose_point([point(1.0, 0.1, 2.0)], rows=400)
    assert found.chosen == 0.0
    own = estimate(0.1, 2.0, seed=100)
    assert found.rows_needed == int(np.ceil(400 * (stats.t.ppf(0.95, own.df) * own.se / 0.1) ** 2))
    assert f"some {found.rows_needed:,} rows set apart would show it" in found.sentence
    assert choose_point([point(1.0, -0.1, 2.0)], rows=400).rows_needed is None
    assert "no policy on the path seems to gain anything" in choose_point([point(1.0, -0.1, 2.0)], rows=400).sentence


def test_too_few_units_say_how_many_rows_would_be_enough():
    """43 rows count as 16 units: 20 of them need 43 * 20 / 16 = 53.75 rows."""
    few = Point(0.5, 0.5, 0.01, estimate(0.4, 2.0), 16.0, 0.0, "Overlap is too thin.")
    found = choose_point([few, Point(1.0, 1.0, 0.01, estimate(0.4, 2.0), 9.0, 0.0, "Thinner.")], rows=43)
    assert found.rows_needed == 54
    assert "Overlap is too thin. At least 54 rows set apart are needed." in found.sentence
    assert choose_point([point(1.0, 0.9, 1.0, "a heavy tail")], rows=43).rows_needed is None


def test_plain_numbers_have_null_for_what_is_not_known():
    unknown = Point(1.5, 2.0, 0.1, None, 0.0, None, "one row")
    plain = choose_point([point(0.5, 0.4, 2.0), unknown], rows=400).to_dict()
    assert plain["chosen"] == 0.5
    assert plain["points"][1]["gain"] is None
    assert plain["points"][0]["barred"] is None
