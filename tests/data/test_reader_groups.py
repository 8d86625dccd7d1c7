"""Groups of readers: levels, thirds, what is merged, and their definitions as plain values."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import causalopt as co
from causalopt.data.reader_groups import Condition, ReaderGroup, ReaderGroups
from causalopt.errors import ConfigError

N = 240


def data(texts=N, **covariates):
    frame = pd.DataFrame({"text": [f"t{i % texts}" for i in range(N)], "outcome": np.arange(N, dtype=float)})
    frame = frame.assign(**covariates)
    return co.DirectOutcomeDataset.from_frame(frame, covariates=list(covariates))


def sizes(rows, names):
    found = ReaderGroups.by(rows, names)
    return {one.name: len(one.rows(rows.covariates)) for one in found.groups}, found.notes


def test_levels_thirds_and_binary_numbers():
    rows = data(party=["left", "right", "left"] * 80, age=np.arange(N), woman=[0, 1] * 120)
    found, notes = sizes(rows, ["party", "age", "woman"])
    assert found == {
        "party = left": 160, "party = right": 80,
        "age <= 79.6667": 80, "79.6667 < age <= 159.333": 80, "age > 159.333": 80,
        "woman = 0": 120, "woman = 1": 120,
    }  # fmt: skip
    assert notes == ()


def test_every_row_is_in_one_group_of_a_division_also_with_ties_at_the_cuts():
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = data(
            score=rng.integers(0, rng.integers(3, 8), size=N),
            kind=rng.choice(list("abcdef"), N, p=rng.dirichlet(np.ones(6))),
        )
        found = ReaderGroups.by(rows, ["score", "kind"])
        for division in {one.division for one in found.groups}:
            members = [one.rows(rows.covariates) for one in found.groups if one.division == division]
            assert sorted(np.concatenate(members)) == list(range(N))
            assert min(map(len, members)) >= 20


def test_small_levels_are_merged_and_said():
    kind = ["a"] * 200 + ["b"] * 15 + ["c"] * 15 + [None] * 10
    found, notes = sizes(data(kind=kind), ["kind"])
    assert found == {"kind = a": 200, "kind = other": 40}
    assert notes == ("kind = other stands for (missing), b, c, which have few rows.",)


def test_a_small_remainder_takes_in_the_next_level():
    found, _ = sizes(data(kind=["a"] * 190 + ["b"] * 45 + ["c"] * 5), ["kind"])
    assert found == {"kind = a": 190, "kind = other": 50}


def test_units_count_as_rows_do():
    """Two levels of 120 rows: one of them was read with 4 texts only."""
    frame = pd.DataFrame({"text": [f"t{i % 40 if i < 120 else i % 4}" for i in range(N)], "outcome": np.arange(N)})
    frame["kind"] = ["a"] * 120 + ["b"] * 120
    rows = co.DirectOutcomeDataset.from_frame(frame, covariates=["kind"])
    found, notes = sizes(rows, ["kind"])
    assert found == {}
    assert notes == ("kind is not divided: too few rows or texts remain beside one group.",)
    assert sizes(data(texts=12, kind=["a", "b"] * 60 + ["b", "a"] * 60), ["kind"])[0] == {
        "kind = a": 120,
        "kind = b": 120,
    }


def test_a_table_too_small_for_thirds_is_halved_or_left():
    frame = pd.DataFrame({"text": [f"t{i}" for i in range(50)], "outcome": range(50), "age": range(50)})
    rows = co.DirectOutcomeDataset.from_frame(frame, covariates=["age"])
    assert sizes(rows, ["age"])[0] == {"age <= 24.5": 25, "age > 24.5": 25}
    assert sizes(rows.subset(np.arange(30)), ["age"])[0] == {}


def test_definitions_survive_json_and_apply_to_other_rows():
    rows = data(party=["left", "right", "centre"] * 80, age=np.arange(N))
    found = ReaderGroups.by(rows, ["party", "age"])
    again = ReaderGroups.from_dicts(json.loads(json.dumps(found.to_dicts())))
    assert again.groups == found.groups
    new = pd.DataFrame({"party": ["left", "green"], "age": [1000, -5]})
    assert {one.name: one.rows(new).tolist() for one in again.groups if len(one.rows(new))} == {
        "party = left": [0], "age <= 79.6667": [1], "age > 159.333": [0],
    }  # fmt: skip
    both = ReaderGroup.of("found", [Condition("age", above=3.0), Condition("party", levels=("left",), others=True)])
    assert both.name == "age > 3 and party is not left"
    assert both.rows(pd.DataFrame({"party": ["left", "green", None], "age": [4, 4, 4]})).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["aeg"], "'aeg' is not a covariate, so readers cannot be grouped by it"),
        ("age", "must be a list of covariates, not the string 'age'"),
        (["age", "age"], "named twice"),
    ],
)
def test_bad_names_are_one_clear_line(names, message):
    with pytest.raises(ConfigError, match=message):
        ReaderGroups.by(data(age=np.arange(N)), names)


def test_without_covariates_there_are_no_groups():
    with pytest.raises(ConfigError, match="groups of readers need covariates, and none are named"):
        ReaderGroups.by(data(), ["age"])
