"""Covariates as numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalopt.data.covariates import CovariateEncoder
from causalopt.errors import CausalOptWarning, DataError


def test_numbers_are_standardised_and_categories_become_indicators():
    frame = pd.DataFrame({"age": [20.0, 40.0, 60.0], "party": ["left", None, "right"]})
    encoder = CovariateEncoder().fit(frame)
    assert encoder.names == ["age", "party=(missing)", "party=left", "party=right"]
    encoded = encoder.transform(frame)
    assert encoded[:, 0] == pytest.approx((frame["age"] - 40) / frame["age"].std(ddof=0))
    assert encoded[:, 1:].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_new_rows_are_measured_on_the_old_scale():
    encoder = CovariateEncoder().fit(pd.DataFrame({"age": [0.0, 2.0]}))
    assert encoder.transform(pd.DataFrame({"age": [5.0]})).tolist() == [[4.0]]


def test_no_covariates_are_no_columns():
    assert CovariateEncoder().fit(pd.DataFrame(index=range(3))).transform(pd.DataFrame(index=range(2))).shape == (2, 0)


def test_constant_columns_are_left_out_with_a_warning():
    with pytest.warns(CausalOptWarning, match="constant were left out: country"):
        encoder = CovariateEncoder().fit(pd.DataFrame({"age": [1.0, 2.0], "country": ["x", "x"]}))
    assert encoder.names == ["age"]


def test_a_covariate_that_was_there_at_fit_time_must_be_there():
    encoder = CovariateEncoder().fit(pd.DataFrame({"age": [1.0, 2.0], "party": ["a", "b"]}))
    with pytest.raises(DataError, match="covariate 'party' was there at fit time and is missing now"):
        encoder.transform(pd.DataFrame({"age": [1.0]}))


def test_an_unseen_level_is_zeros_with_a_warning():
    encoder = CovariateEncoder().fit(pd.DataFrame({"party": ["a", "b"]}))
    with pytest.warns(CausalOptWarning, match=r"'party' has 1 rows with levels not seen at fit time \(c\)"):
        encoded = encoder.transform(pd.DataFrame({"party": ["c", "b"]}))
    assert np.array_equal(encoded, [[0, 0], [0, 1]])


def test_a_number_stays_a_number_and_a_code_a_code():
    encoder = CovariateEncoder().fit(pd.DataFrame({"age": [1.0, 2.0], "class": ["1", "b"]}))
    encoded = encoder.transform(pd.DataFrame({"age": [1, 2], "class": [1.0, 1.0]}))
    assert encoded.tolist() == [[-1, 1, 0], [1, 1, 0]]
    with pytest.raises(DataError, match="covariate 'age' held numbers at fit time and holds words now"):
        encoder.transform(pd.DataFrame({"age": ["old"], "class": ["b"]}))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_are_finite(wrong):
    with pytest.raises(DataError, match=f"covariate 'age' is {wrong} at position 1: must be finite"):
        CovariateEncoder().fit(pd.DataFrame({"age": [1.0, wrong]}))
    encoder = CovariateEncoder().fit(pd.DataFrame({"age": [1.0, 2.0]}))
    with pytest.raises(DataError, match=f"covariate 'age' is {wrong} at position 0: must be finite"):
        encoder.transform(pd.DataFrame({"age": [wrong]}))


def test_it_equals_the_encoders_of_scikit_learn():
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"age": rng.normal(40, 9, 50), "kind": rng.choice(list("abc"), 50), "done": rng.random(50) < 0.5}
    )
    expected = [
        StandardScaler().fit_transform(frame[["age", "done"]]),
        OneHotEncoder(sparse_output=False).fit_transform(frame[["kind"]]),
    ]
    assert CovariateEncoder().fit(frame).transform(frame) == pytest.approx(np.hstack(expected))


def test_levels_that_do_not_fit_share_indicators():
    rng = np.random.default_rng(0)
    code = np.concatenate([np.arange(20_000), rng.integers(0, 30, 10_000)])
    frame = pd.DataFrame({"age": rng.normal(size=30_000), "zip": [f"z{k}" for k in code]})
    with pytest.warns(CausalOptWarning, match=r"'zip' has 20000 levels in 30000 rows: .* would take 4.47 GiB"):
        encoder = CovariateEncoder().fit(frame)
    encoded = encoder.transform(frame)
    assert encoded.shape == (30_000, 1 + 2 * 64)
    assert np.array_equal(encoded[:, 1:].sum(axis=1), np.ones(30_000))
    own = encoder.names.index("zip=z7")
    assert np.array_equal(encoded[:, own] == 1, code == 7)  # a frequent level keeps its own
    again = encoder.transform(frame.iloc[[50, 7]])
    assert np.array_equal(again, encoded[[50, 7]])
    unseen = encoder.transform(pd.DataFrame({"age": [0.0], "zip": ["elsewhere"]}))
    assert unseen[0, 1:].sum() == 1


def test_many_levels_that_fit_have_an_indicator_each():
    frame = pd.DataFrame({"zip": [f"z{k % 500}" for k in range(5000)]})
    assert CovariateEncoder().fit(frame).transform(frame).shape == (5000, 500)
