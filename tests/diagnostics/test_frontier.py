"""The point that is chosen, against bounds computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from causalopt.data.constraint import Constraint
from causalopt.diagnostics.feasibility import feasibility
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


def constrained(factor, value, sd, complaints, barred=None, correlation=None):
    known = {"complaints": estimate(complaints, 0.2, seed=7)}
    return Point(factor, factor, 0.01, estimate(value, sd, seed=3), 200.0, 0.0, barred, correlation, known)


def test_a_point_that_is_not_shown_to_keep_a_bound_is_not_chosen():
    bound = Constraint("complaints", at_most=0.1)
    near, far, other = (
        constrained(0.5, 0.2, 1.0, 0.05),
        constrained(1.0, 0.9, 1.0, 0.09),
        constrained(0.5, 0.4, 1.0, 0.07, correlation=0.0),
    )
    reference = {"complaints": estimate(0.06, 0.2, seed=7)}
    found = choose_point([near, far, other], rows=400, constraints=[bound], reference=reference)
    assert (found.chosen, found.correlation) == (0.5, 0.0)
    # All four values have the same error, so that the band is the interval of one of them.
    half = stats.t.ppf(0.95, 399) * 0.2 / np.sqrt(399)
    np.testing.assert_allclose(found.frame["high of complaints"], np.array([0.05, 0.09, 0.07]) + half, rtol=1e-3)
    assert (
        found.frame["barred"].tolist()[1]
        == f"complaints may be as high as {0.09 + half:.3g}; the bound is at most 0.1."
    )
    assert "The bound complaints at most 0.1 holds for the policy: 0.07" in found.sentence
    assert "the reference" not in found.sentence
    assert found.to_dict()["bounds"][0]["reference_holds"] is True
    free = choose_point([near, far, other], rows=400)
    assert free.chosen == 1.0
    assert "correlation" not in free.frame
    at_least = [Constraint("complaints", at_least=0.06)]
    assert choose_point([near, far, other], rows=400, constraints=at_least, reference=reference).chosen == 1.0


def test_a_bound_comes_before_a_gain_where_the_reference_breaks_it():
    bound, reference = [Constraint("complaints", at_most=0.1)], {"complaints": estimate(0.3, 0.2, seed=7)}
    loss = constrained(0.5, -0.2, 1.0, 0.05)
    found = choose_point([loss, constrained(1.0, 0.9, 1.0, 0.2)], rows=400, constraints=bound, reference=reference)
    assert found.chosen == 0.5
    assert found.reference_fails
    assert "The bound complaints at most 0.1 does not hold for the reference: 0.3" in found.sentence
    kept = choose_point([loss], rows=400, constraints=bound, reference={"complaints": estimate(0.05, 0.2, seed=7)})
    assert kept.chosen == 0.0
    assert not kept.reference_fails
    nothing = choose_point([constrained(1.0, 0.9, 1.0, 0.2)], rows=400, constraints=bound, reference=reference)
    assert nothing.chosen == 0.0
    assert nothing.sentence.startswith("Even the reference does not keep the bounds: on 400 rows set apart, neither it")
    unclear = {"complaints": estimate(0.1, 0.2, seed=7)}
    unsure = choose_point([constrained(1.0, 0.9, 1.0, 0.2)], rows=400, constraints=bound, reference=unclear)
    assert "Even the reference is not shown to keep the bounds" in unsure.sentence


def test_rows_without_an_event_tell_no_limit():
    bound, never = [Constraint("complaints", at_most=0.1)], {"complaints": Estimate(0.0, np.zeros(400))}
    quiet = Point(1.0, 1.0, 0.01, estimate(0.9, 1.0), 200.0, 0.0, None, None, never)
    found = choose_point([quiet], rows=400, constraints=bound, reference=never)
    assert found.chosen == 0.0
    assert "no limit is known" in found.frame.loc[0, "barred"]
    assert "Whether the bound complaints at most 0.1 holds for the reference cannot be told" in found.sentence
    assert "nan" not in found.sentence


def test_the_limits_hold_for_all_candidates_at_once():
    """30 samples of 12 independent values at the bound: the nominal error is 5%, or 46% with limits one by one.

    8 errors or more have probability 2e-4 at 5%, and 4 or fewer 1e-4 at 46%.
    """
    wrong, one_by_one = 0, 0
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(size=(13, 200))
        values = [{"complaints": Estimate(1 + row.mean(), row - row.mean())} for row in noise]
        found = feasibility([Constraint("complaints", at_most=1.0)], values, 0.9)
        wrong += any(found.barred(i) is None for i in range(1, 13))
        one_by_one += any(row["complaints"].confint(0.9)[1] <= 1 for row in values[1:])
    assert wrong < 8
    assert one_by_one > 4
