"""Rows whose outcome was not observed: how they are marked, kept, stored and refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset
from causalopt.data.response import who_answers
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["a", "b", "b", "c", "c", "d"],
            "outcome": [1.0, 2.0, np.nan, 4.0, 99.0, 3.0],
            "rated": [1, 1, 0, 1, 0, 1],
            "age": [20.0, 30.0, 40.0, 50.0, 60.0, 70.0],
        }
    )


def test_rows_that_are_not_observed_are_kept_and_what_they_hold_is_not_looked_at() -> None:
    data = DirectOutcomeDataset.from_frame(table(), observed="rated", covariates=["age"])
    assert data.observed is not None
    assert data.observed.dtype == bool
    np.testing.assert_array_equal(data.observed, [True, True, False, True, False, True])
    np.testing.assert_array_equal(data.outcome, [1.0, 2.0, np.nan, 4.0, np.nan, 3.0])
    assert data.dropped == {}
    assert data.outcome_mean_and_spread() == pytest.approx((2.5, np.std([1, 2, 3, 4])))
    remark = table().astype({"outcome": object})
    remark.loc[2, "outcome"] = "did not want to say"
    assert DirectOutcomeDataset.from_frame(remark, observed="rated").observed is not None


@pytest.mark.parametrize("cells", [[True, True, False, True, False, True], ["1", "TRUE", "0", "true", "False", "1"]])
def test_every_spelling_of_true_and_false(cells: list[object]) -> None:
    data = DirectOutcomeDataset.from_frame(table().assign(rated=cells), observed="rated")
    np.testing.assert_array_equal(data.rated, [True, True, False, True, False, True])


@pytest.mark.parametrize("cell", [2, -1, 0.5, "yes", "maybe"])
def test_anything_else_is_one_clear_line(cell: object) -> None:
    frame = table().astype({"rated": object})
    frame.loc[3, "rated"] = cell
    with pytest.raises(DataError, match=r"column 'rated', row 4 is .*: whether an outcome was observed is 0 or 1"):
        DirectOutcomeDataset.from_frame(frame, observed="rated")


def test_on_missing_model_keeps_rows_that_lack_only_the_outcome() -> None:
    frame = table()
    frame.loc[2, "age"] = np.nan
    frame.loc[3, "outcome"] = np.nan
    with pytest.warns(DroppedRowsWarning, match="1 of 6 rows left out: 1 with no covariate 'age'"):
        data = DirectOutcomeDataset.from_frame(frame, covariates=["age"], on_missing="model")
    np.testing.assert_array_equal(data.row, [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(data.rated, [True, True, False, True, True])
    # A row that is marked as observed and has no outcome is one that lacks it.
    with pytest.warns(DroppedRowsWarning, match="no outcome"):
        dropped = DirectOutcomeDataset.from_frame(frame, observed="rated")
    np.testing.assert_array_equal(dropped.row, [0, 1, 2, 4, 5])
    kept = DirectOutcomeDataset.from_frame(frame, observed="rated", on_missing="model")
    np.testing.assert_array_equal(kept.rated, [True, True, False, False, False, True])
    with pytest.raises(DataError, match="row 4 has no outcome"):
        DirectOutcomeDataset.from_frame(frame, observed="rated", on_missing="error")
    with pytest.raises(ConfigError, match="on_missing must be 'drop', 'error' or 'model', not 'keep'"):
        DirectOutcomeDataset.from_frame(frame, on_missing="keep")  # type: ignore[arg-type]


def test_with_all_outcomes_there_is_nothing_to_model() -> None:
    complete = table().assign(outcome=range(6))
    assert DirectOutcomeDataset.from_frame(complete, on_missing="model").observed is None
    assert DirectOutcomeDataset.from_frame(complete.assign(rated=1), observed="rated").rated.all()


def test_without_any_outcome_there_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="no row has an outcome in column 'outcome'"):
        DirectOutcomeDataset.from_frame(table().assign(rated=0), observed="rated")
    with pytest.raises(DataError, match="no row has an outcome"):
        DirectOutcomeDataset.from_frame(table().assign(outcome=np.nan), on_missing="model")
    with pytest.raises(DataError, match="all outcomes in column 'outcome' are 1; there is nothing to learn"):
        DirectOutcomeDataset.from_frame(table().assign(outcome=[1, 1, None, 1, None, 1]), on_missing="model")


def test_it_goes_through_subset_split_fingerprint_and_restore() -> None:
    data = DirectOutcomeDataset.from_frame(table(), observed="rated", covariates=["age"])
    np.testing.assert_array_equal(data.subset(np.array([4, 0])).rated, [False, True])
    train, test = data.split(test_size=0.5, seed=0)
    assert sorted([*train.row[train.rated], *test.row[test.rated]]) == [0, 1, 3, 5]
    for one in (data, DirectOutcomeDataset.from_frame(table().drop(columns="rated"), on_missing="model")):
        again = DirectOutcomeDataset.restore(one.to_frame(), one.row, one.about())
        assert again.fingerprint() == one.fingerprint()
        np.testing.assert_array_equal(again.rated, one.rated)
        np.testing.assert_array_equal(again.outcome, one.outcome)
    other = DirectOutcomeDataset.from_frame(table().assign(rated=[1, 1, 0, 1, 0, 0]), observed="rated")
    assert other.fingerprint() != data.fingerprint()
    # An outcome that nobody looks at is no part of the data.
    unseen = table().assign(outcome=[1.0, 2.0, 7.0, 4.0, -1.0, 3.0])
    same = DirectOutcomeDataset.from_frame(unseen, observed="rated", covariates=["age"])
    assert same.fingerprint() == data.fingerprint()


def test_from_a_file(tmp_path) -> None:
    table().to_csv(tmp_path / "log.csv", index=False)
    table().to_parquet(tmp_path / "log.parquet")
    a, b = (DirectOutcomeDataset.from_path(tmp_path / f"log.{kind}", observed="rated") for kind in ("csv", "parquet"))
    assert a.fingerprint() == b.fingerprint()


def test_whose_value_it_is_is_said_in_words() -> None:
    assert who_answers(DirectOutcomeDataset.from_frame(table().assign(outcome=range(6)))) is None
    kept = who_answers(DirectOutcomeDataset.from_frame(table(), observed="rated"))
    assert kept is not None
    assert kept.startswith("4 of 6 rows have an outcome. The value is that of all readers, if")
    with pytest.warns(DroppedRowsWarning):
        dropped = who_answers(DirectOutcomeDataset.from_frame(table()))
    assert dropped is not None
    assert "1 rows without an outcome were left out, so that the value is that of those who answer" in dropped
