"""Times of rows, and the split by them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from causalopt import DirectOutcomeDataset
from causalopt.data.population import FIXED
from causalopt.data.time_split import time_split
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning
from causalopt.run.config import parse_config


def dataset(time, texts=None, **roles) -> DirectOutcomeDataset:
    n = len(time)
    texts = [f"text {i}" for i in range(n)] if texts is None else texts
    frame = pd.DataFrame({"text": texts, "outcome": np.arange(n, dtype=float), "when": time})
    return DirectOutcomeDataset.from_frame(frame, time="when", source="t.csv", **roles)


@pytest.mark.parametrize(
    "time",
    [
        ["2026-03-01", "2026-03-02", "2026-03-04"],
        ["2026-03-01T00:00", "2026-03-02 00:00:00", "2026-03-04T02:00:00+02:00"],
        [date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 4)],
        pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-04"]),
        pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-04"], utc=True),
        [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 4)],
    ],
)
def test_dates_of_any_kind_are_seconds(time):
    assert dataset(time).time.tolist() == [1772323200.0 + 86400 * day for day in (0, 1, 3)]


@pytest.mark.parametrize("time", [[3, 1, 2], ["3", "1", " 2"], [3.0, 1.0, 2.0]])
def test_numbers_stay_numbers(time):
    assert dataset(time).time.tolist() == [3.0, 1.0, 2.0]


def test_from_a_file_and_back(tmp_path):
    frame = pd.DataFrame(
        {"text": ["a", "b", "c"], "outcome": [1.0, 2.0, 3.0], "when": ["2026-03-01", "", "2026-03-02"]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(DroppedRowsWarning, match="1 with no time"):
        data = DirectOutcomeDataset.from_csv(tmp_path / "t.csv", time="when")
    again = DirectOutcomeDataset.restore(data.to_frame(), data.row, data.about())
    assert np.array_equal(again.time, data.time)
    assert again.fingerprint() == data.fingerprint()
    assert data.subset([1]).time.tolist() == [data.time[1]]


@pytest.mark.parametrize(
    ("time", "message"),
    [
        (["2026-03-01", "soon", "later"], "t.csv: column 'when', row 2 is 'soon': must be a number, or a date as in 2"),
        (["01/03/2026", "2026-03-02", "2026-03-02"], "row 1 is '01/03/2026': must be a number, or a date"),
        ([1.0, np.inf, 2.0], "column 'when', row 2 is inf: must be finite"),
    ],
)
def test_what_is_no_time_is_named(time, message):
    with pytest.raises(DataError) as error:
        dataset(time)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_rows_are_test_rows():
    time = np.random.default_rng(0).permutation(100).astype(float)
    train, test = dataset(time).split(0.3, by="time")
    assert sorted(test.time) == list(range(70, 100))
    assert sorted(train.time) == list(range(70))


def test_a_text_of_the_test_rows_is_in_no_training_row_and_the_rest_is_counted():
    """60 rows of 20 texts: the texts of the last rows leave training, and no test row is lost."""
    rng = np.random.default_rng(1)
    texts = [f"text {i}" for i in rng.integers(20, size=60)]
    data = dataset(np.arange(60.0), texts)
    late = set(texts[54:])
    again = sum(text in late for text in texts[:54])
    with pytest.warns(DroppedRowsWarning, match=f"{again} of 54 earlier rows left out of training"):
        train, test = data.split(0.1, by="time")
    assert test.time.tolist() == list(range(54, 60))
    assert not set(train.texts) & set(test.texts)
    assert len(train) == 54 - again
    assert list(train.dropped.values()) == [again]
    assert test.dropped == {}


def test_where_texts_are_fixed_they_may_be_on_both_sides():
    data = dataset(np.arange(40.0), ["one", "two"] * 20).with_population(FIXED)
    train, test = data.split(0.25, by="time")
    assert (len(train), len(test)) == (30, 10)


def test_rows_of_one_time_stay_together():
    train, test, left_out = time_split(np.repeat([1.0, 2.0, 3.0], 10), np.arange(30), 0.4, "t.csv")
    assert (len(train), len(test), left_out) == (10, 20, 0)


@pytest.mark.parametrize(
    ("time", "texts", "message"),
    [
        (np.arange(40.0), ["one", "two"] * 20, "of 2 units .* 2 have rows in the last 0.3 of the time and 0 have none"),
        (np.ones(40), None, "one time, so that none is earlier"),
    ],
)
def test_a_split_that_is_not_possible_says_what_to_do(time, texts, message):
    with pytest.raises(DataError, match=message) as error:
        dataset(time, texts).split(0.3, by="time")
    assert "\n" not in str(error.value)


def test_a_split_by_time_needs_a_time():
    frame = pd.DataFrame({"text": ["a", "b"], "outcome": [1.0, 2.0]})
    with pytest.raises(ConfigError, match=r"needs data\.time"):
        DirectOutcomeDataset.from_frame(frame).split(by="time")
    with pytest.raises(ConfigError, match=r"data: test\.by: time needs data\.time"):
        parse_config({"data": {"path": "t.csv", "test": {"by": "time"}}})
