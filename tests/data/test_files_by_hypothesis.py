"""Any bytes as a table, and any cells in one: a data set, or one line that says what is wrong."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from causalopt import DirectOutcomeDataset
from causalopt.data.files import READERS, read_table
from causalopt.errors import CausalOptError, CausalOptWarning

bounded = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CELLS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.dates(),
    st.complex_numbers(),
)


def in_one_line(call: Callable[[], Any]) -> Any:
    """Return what the call returns; an error must be one of causalopt, on one line."""
    try:
        with warnings.catch_warnings(action="ignore", category=CausalOptWarning):
            return call()
    except CausalOptError as error:
        said = str(error)
    assert len(said.splitlines()) == 1
    return None


@pytest.mark.parametrize("suffix", READERS)
@bounded
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"")
@example(content=b"\n\n")
@example(content=b'{"text": ' * 20_000)
@example(content=b'{"text": "a", "text": "b"}')
@example(content=b"9" * 5000)
@example(content=b"PAR1" + 100 * b"\0" + b"PAR1")
@example(content=b"text,text,outcome\na,b,1\n")
@example(content=b'text,outcome\n"a,1\n')
@example(content=b"\xef\xbb\xbf")
def test_any_bytes(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"table{suffix}"
    path.write_bytes(content)
    frame = in_one_line(lambda: read_table(path, ["text"]))
    assert frame is None or isinstance(frame, pd.DataFrame)
    in_one_line(lambda: DirectOutcomeDataset.from_path(path, covariates=["age"]))


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_parquet_file_that_was_cut_or_changed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"text": ["a", "b"] * 20, "outcome": np.arange(40.0)}).to_parquet(path)
    whole = path.read_bytes()
    place = len(whole) * cut // 100
    for content in (
        whole[:place],
        whole[:place] + bytes(one ^ 255 for one in whole[place : place + 9]) + whole[place + 9 :],
    ):
        path.write_bytes(content)
        in_one_line(lambda: DirectOutcomeDataset.from_parquet(path))


@bounded
@given(column=st.sampled_from(["text", "outcome", "age", "weight", "group", "log_q", "time", "observed"]), cell=CELLS)
@example(column="outcome", cell=1e308)
@example(column="weight", cell=1e308)
@example(column="outcome", cell=10**400)
@example(column="outcome", cell="9" * 5000)
def test_any_cell_in_any_role(column: str, cell: Any) -> None:
    n = 12
    values: dict[str, list[Any]] = {
        "text": ["a", "b", "c"] * 4, "outcome": list(np.arange(12.0)), "age": list(np.arange(12.0)),
        "weight": [1.0] * n, "group": list(range(n)), "log_q": [-1.0] * n, "time": list(range(n)), "observed": [1] * n,
    }  # fmt: skip
    values[column] = [*values[column][:-1], cell]
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in values.items()})
    found = in_one_line(
        lambda: DirectOutcomeDataset.from_frame(
            frame, covariates=["age"], weight="weight", group="group", behavior_log_prob="log_q", time="time",
            observed="observed",
        )
    )  # fmt: skip
    if found is not None:
        assert np.isfinite(found.outcome[found.rated]).all()
        assert np.isfinite(found.weight).all()


@bounded
@given(
    role=st.sampled_from(["text", "outcome", "covariates", "weight", "loggers", "propensities", "attributes", "time"]),
    value=CELLS,
)
def test_anything_as_the_name_of_a_column(role: str, value: Any) -> None:
    frame = pd.DataFrame({"text": ["a", "b"] * 6, "outcome": np.arange(12.0), "age": np.arange(12.0)})
    in_one_line(lambda: DirectOutcomeDataset.from_frame(frame, **{role: value}))


@bounded
@given(
    records=st.lists(
        st.dictionaries(st.sampled_from(["text", "outcome", ""]), st.none() | st.integers() | st.text(max_size=3))
    )
)
def test_any_records_as_json_lines(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    in_one_line(lambda: DirectOutcomeDataset.from_jsonl(path))
