"""Bounds on other outcomes, and the columns that hold these."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt import Constraint, DirectOutcomeDataset
from causalopt.data.constraint import check_constraints
from causalopt.errors import CausalOptWarning, ConfigError, DataError


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["a", "b", "b", "c", "c", "d"],
            "outcome": [1.0, 2.0, 5.0, 4.0, 9.0, 3.0],
            "complaint": [0, 1, np.nan, 0, 1, 0],
            "rating": [3.0, 4.0, 5.0, 3.5, 2.0, np.nan],
        }
    )


def read(**roles) -> DirectOutcomeDataset:
    return DirectOutcomeDataset.from_frame(table(), other_outcomes=["complaint", "rating"], **roles)


def test_a_row_without_another_outcome_is_kept_and_is_one_where_that_was_not_observed() -> None:
    data = read()
    assert len(data) == 6
    other = data.with_outcome("complaint", "minimize")
    np.testing.assert_array_equal(other.rated, [True, True, False, True, True, True])
    np.testing.assert_array_equal(other.outcome, [0, 1, np.nan, 0, 1, 0])
    assert (other.direction, other.columns.outcome, other.texts) == ("minimize", "complaint", data.texts)
    assert data.subset(np.array([0, 1, 3])).with_outcome("complaint", "minimize").observed is None
    assert data.direction == "maximize"
    np.testing.assert_array_equal(data.outcome, table()["outcome"])


def test_other_outcomes_are_part_of_the_data_and_are_stored() -> None:
    data = read()
    again = DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
    assert again.fingerprint() == data.fingerprint()
    pd.testing.assert_frame_equal(again.other_outcomes, data.other_outcomes)
    changed = DirectOutcomeDataset.from_frame(table().assign(rating=1 - table()["rating"]), other_outcomes=["rating"])
    plain = DirectOutcomeDataset.from_frame(table(), other_outcomes=["rating"])
    assert changed.fingerprint() != plain.fingerprint() != data.fingerprint()


def test_words_of_the_map_are_numbers_in_other_outcomes_too() -> None:
    frame = table().assign(
        outcome=["no", "yes", "no", "no", "yes", "yes"], complaint=["no", "yes", None, "no", "no", "no"]
    )
    data = DirectOutcomeDataset.from_frame(
        frame, other_outcomes=["complaint", "rating"], outcome_map={"no": 0, "yes": 1}
    )
    np.testing.assert_array_equal(data.other_outcomes["complaint"], [0, 1, np.nan, 0, 0, 0])
    np.testing.assert_array_equal(data.other_outcomes["rating"], table()["rating"])
    with pytest.raises(DataError, match="column 'complaint' holds words; give them numbers"):
        DirectOutcomeDataset.from_frame(frame.assign(outcome=table()["outcome"]), other_outcomes=["complaint"])


@pytest.mark.parametrize(
    ("roles", "line"),
    [
        ({"other_outcomes": ["complaints"]}, "no column 'complaints' for other_outcomes .did you mean 'complaint'"),
        ({"other_outcomes": ["outcome"]}, "column 'outcome' is both outcome and other_outcomes"),
        ({"other_outcomes": ["text"]}, "column 'text' is both text and other_outcomes"),
    ],
)
def test_columns_that_cannot_be_other_outcomes(roles, line) -> None:
    with pytest.raises(DataError, match=line):
        DirectOutcomeDataset.from_frame(table(), **roles)


def test_an_outcome_that_never_varies_cannot_be_bounded() -> None:
    with pytest.raises(DataError, match="all outcomes in column 'complaint' are 0"):
        DirectOutcomeDataset.from_frame(table().assign(complaint=0), other_outcomes=["complaint"])
    with pytest.raises(DataError, match="column 'complaint', row 2 is 'many'"):
        DirectOutcomeDataset.from_frame(table().assign(complaint=[0, "many", 1, 0, 1, 0]), other_outcomes=["complaint"])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "exactly one of at_most and at_least"),
        ({"at_most": 1.0, "at_least": 0.0}, "exactly one of at_most and at_least"),
        ({"at_most": float("nan")}, "at_most must be a number, not nan"),
        ({"at_least": True}, "at_least must be a number, not True"),
    ],
)
def test_a_constraint_is_one_finite_bound(given, line) -> None:
    with pytest.raises(ConfigError, match=line):
        Constraint("complaint", **given)


def test_constraints_fit_the_data() -> None:
    data = read()
    most = Constraint("complaint", at_most=0.5)
    assert check_constraints([most, Constraint("rating", at_least=3)], data) == (most, Constraint("rating", at_least=3))
    for given, line in [
        ([Constraint("outcome", at_most=3)], "'outcome' is the outcome that is optimised"),
        ([Constraint("ratings", at_most=3)], "'ratings' is not among the other_outcomes of frame"),
        ([most, Constraint("complaint", at_most=0.1)], "two bounds of the same kind on 'complaint'"),
        ([Constraint("rating", at_most=1.5)], "runs from 2 to 5: no policy can be expected to keep rating at most 1.5"),
        ([Constraint("rating", at_least=6)], "no policy can be expected to keep rating at least 6"),
        (most, "constraints must be a list of Constraint"),
        ([{"outcome": "complaint", "at_most": 1}], "constraints must be a list of Constraint, and"),
    ]:
        with pytest.raises(ConfigError, match=line):
            check_constraints(given, data)
    with pytest.warns(CausalOptWarning, match="every policy keeps complaint at most 1"):
        check_constraints([Constraint("complaint", at_most=1)], data)


def test_which_end_counts_against_a_bound() -> None:
    least = Constraint("rating", at_least=3.0)
    assert (least.holds(3.1, 4.0), least.holds(2.0, 4.0), least.holds(1.0, 2.9)) == (True, None, False)
    assert least.against(2.0, 4.0) == 2.0
    assert Constraint("rating", at_most=3.0).against(2.0, 4.0) == 4.0
