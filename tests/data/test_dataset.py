"""Reading, validating, splitting and fingerprinting tables."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import datasets
import numpy as np
import pandas as pd
import pytest
from places import ROOT

from causalopt import DirectOutcomeDataset
from causalopt.data.population import FIXED, Population
from causalopt.errors import ConfigError, DataError, DroppedRowsWarning

ROLES = {"text": "text", "outcome": "resp", "covariates": ["age", "party"], "weight": "views", "reader": "who"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["one warm day", "one cold day", "one warm day", 'é night, "quoted"\nline'],
            "resp": [1.0, 2.5, 3.0, 4.0],
            "age": [20.0, 30.0, 40.0, 50.0],
            "party": ["left", None, "right", "left"],
            "views": [1, 2, 3, 4],
            "who": ["a", "b", "a", "c"],
            "log_q": [-3.0, -4.0, -3.0, -9.0],
        }
    )


def test_every_kind_of_file_gives_the_same_data(frame, tmp_path):
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")
    saved = datasets.Dataset.from_pandas(frame)
    saved.save_to_disk(str(tmp_path / "saved"))
    expected = DirectOutcomeDataset.from_frame(frame, **ROLES)
    for found in (
        DirectOutcomeDataset.from_csv(tmp_path / "t.csv", **ROLES),
        DirectOutcomeDataset.from_tsv(tmp_path / "t.tsv", **ROLES),
        DirectOutcomeDataset.from_jsonl(tmp_path / "t.jsonl", **ROLES),
        DirectOutcomeDataset.from_parquet(tmp_path / "t.parquet", **ROLES),
        DirectOutcomeDataset.from_hf(saved, **ROLES),
        DirectOutcomeDataset.from_hf(tmp_path / "saved", **ROLES),
        DirectOutcomeDataset.from_path(tmp_path / "saved", **ROLES),
        DirectOutcomeDataset.from_path(tmp_path / "t.tsv", **ROLES),
    ):
        pd.testing.assert_frame_equal(found.to_frame(), expected.to_frame())
        assert found.fingerprint() == expected.fingerprint()


def test_columns_become_typed_arrays(frame):
    data = DirectOutcomeDataset.from_frame(frame, **ROLES, behavior_log_prob="log_q")
    assert data.outcome.dtype == data.weight.dtype == data.behavior_log_prob.dtype == np.float64
    assert data.group.tolist() == [0, 1, 0, 2]
    assert data.reader.tolist() == [0, 1, 0, 2]
    assert data.prompts is None
    assert data.covariates["party"].isna().tolist() == [False, True, False, False]


def test_the_group_is_the_text_with_its_prompt_unless_a_column_says_otherwise(frame):
    frame["prompt"] = ["p", "p", "q", "q"]
    asked = DirectOutcomeDataset.from_frame(frame, outcome="resp", prompt="prompt")
    assert asked.group.tolist() == [0, 0, 1, 1], "prompts are a sample"
    assert asked.with_population(Population(prompts="fixed")).group.tolist() == [0, 1, 2, 3]
    assert asked.with_population(FIXED).group.tolist() == [0, 1, 2, 3]
    assert DirectOutcomeDataset.from_frame(frame, outcome="resp", group="who").group.tolist() == [0, 1, 0, 2]


def test_the_fingerprint_changes_with_content_roles_and_direction(frame):
    prints = {DirectOutcomeDataset.from_frame(frame, **ROLES).fingerprint()}
    prints.add(DirectOutcomeDataset.from_frame(frame, **ROLES, direction="minimize").fingerprint())
    prints.add(DirectOutcomeDataset.from_frame(frame, **{**ROLES, "covariates": ["age"]}).fingerprint())
    for column, value in (
        ("resp", 1.0 + 1e-12),
        ("text", "one warm dax"),
        ("party", "lefu"),
        ("views", 2),
        ("age", 21),
    ):
        changed = frame.astype({"views": float})
        changed.loc[0, column] = value
        prints.add(DirectOutcomeDataset.from_frame(changed, **ROLES).fingerprint())
    assert len(prints) == 8


def test_no_group_is_divided_by_a_split():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": [f"text {i}" for i in rng.integers(0, 50, 400)], "outcome": rng.normal(size=400)})
    data = DirectOutcomeDataset.from_frame(frame)
    for seed in range(5):
        train, test = data.split(test_size=0.3, seed=seed)
        assert not set(train.texts) & set(test.texts)
        assert len(train) + len(test) == 400
        assert len(set(test.texts)) == 15
    again = data.split(test_size=0.3, seed=4)[1]
    assert again.texts == test.texts
    assert data.split(test_size=0.3, seed=3)[1].texts != test.texts


def test_subsets_and_copies_keep_everything(frame):
    data = DirectOutcomeDataset.from_frame(frame, **ROLES, behavior_log_prob="log_q")
    half = data.subset(np.array([3, 0]))
    assert half.row.tolist() == [3, 0]
    assert half.outcome.tolist() == [4.0, 1.0]
    assert half.reader.tolist() == [2, 0]
    assert half.covariates["age"].tolist() == [50.0, 20.0]
    assert data.subset(data.outcome > 2).texts == data.texts[1:]
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert twin.fingerprint() == data.fingerprint()


def test_rows_that_lack_something_are_dropped_with_count_and_reason(frame):
    frame.loc[1, "text"] = "  "
    frame.loc[2, "resp"] = np.nan
    with pytest.warns(DroppedRowsWarning, match="frame: 2 of 4 rows left out: 1 with no text, 1 with no outcome"):
        data = DirectOutcomeDataset.from_frame(frame, **ROLES)
    assert data.row.tolist() == [0, 3]
    assert data.dropped == {"no text": 1, "no outcome": 1}
    with pytest.raises(DataError, match="row 2 has no text"):
        DirectOutcomeDataset.from_frame(frame, **ROLES, on_missing="error")


def test_a_missing_numeric_covariate_is_a_missing_row(frame):
    frame.loc[0, "age"] = np.nan
    with pytest.warns(DroppedRowsWarning, match="1 with no covariate 'age'"):
        assert len(DirectOutcomeDataset.from_frame(frame, **ROLES)) == 3


def test_a_row_that_lacks_two_things_counts_once():
    frame = pd.DataFrame({"text": ["", "b", "c"], "outcome": [None, 1.0, 2.0]})
    with pytest.warns(DroppedRowsWarning, match="1 of 3 rows left out: 1 with no text$"):
        assert DirectOutcomeDataset.from_frame(frame).dropped == {"no text": 1}


def test_cells_of_a_csv_are_taken_as_they_are_written(tmp_path):
    (tmp_path / "t.csv").write_text(
        "text,outcome,prompt,school,done,class,age\n"
        "None,1,2020,None,true,01,NA\n"
        "null,NA,1e5,b,FALSE,1,n/a\n"
        "NA,0.1,7,b,TRUE,1,3\n"
        "nan,0.30000000000000004,2021,NA,TRUE,1,3\n"
        "five,2,5,c,true,1,4\n",
        encoding="utf-8",
    )
    with pytest.warns(DroppedRowsWarning, match="2 of 5 rows left out: 1 with no text, 1 with no outcome"):
        data = DirectOutcomeDataset.from_csv(
            tmp_path / "t.csv", prompt="prompt", covariates=["school", "done"], group="class"
        )
    assert data.texts == ["None", "nan", "five"]
    assert data.prompts == ["2020", "2021", "5"]
    assert data.outcome.tolist() == [1.0, 0.1 + 0.2, 2.0]
    assert data.covariates["school"].tolist()[0] == "None"
    assert data.covariates["school"].isna().tolist() == [False, True, False]
    assert data.covariates["done"].tolist() == [1.0, 1.0, 1.0]
    assert data.group.tolist() == [0, 1, 1]
    with pytest.warns(DroppedRowsWarning, match="1 with no covariate 'age'"):
        ages = DirectOutcomeDataset.from_csv(tmp_path / "t.csv", covariates=["age"]).covariates["age"]
    assert ages.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("values", [
    [True, False, True], pd.array([True, False, True], dtype="boolean"), ["true", "False", "TRUE"], [1, 0, 1],
    pd.array([1, 0, 1], dtype="Int64"), [Decimal(1), Decimal(0), Decimal(1)], pd.Categorical([1, 0, 1]),
])  # fmt: skip
def test_outcomes_may_be_any_kind_of_number(values):
    data = DirectOutcomeDataset.from_frame(pd.DataFrame({"text": ["a", "b", "c"], "outcome": values}))
    assert data.outcome.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(("values", "expected"), [
    ([True, None, False], [1.0, 0.0]), (pd.array([4, None, 5], dtype="Int64"), [4.0, 5.0]), ([2, None, 3], [2.0, 3.0]),
])  # fmt: skip
def test_numeric_covariates_of_any_kind_are_dropped_where_missing(values, expected):
    frame = pd.DataFrame({"text": ["a", "b", "c"], "outcome": [1, 2, 3]}).assign(w=values)
    with pytest.warns(DroppedRowsWarning, match="1 with no covariate 'w'"):
        assert DirectOutcomeDataset.from_frame(frame, covariates=["w"]).covariates["w"].tolist() == expected


def test_codes_are_categories_where_the_table_says_so():
    frame = pd.DataFrame({"text": ["a", "b", "c"], "outcome": [1, 2, 3], "w": pd.Categorical([1, 2, None])})
    assert DirectOutcomeDataset.from_frame(frame, covariates=["w"]).covariates["w"].tolist()[:2] == ["1", "2"]
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "outcome": datasets.Value("int64"),
            "w": datasets.ClassLabel(names=["x", "y"]),
        }
    )
    labels = datasets.Dataset.from_dict({**frame[["text", "outcome"]].to_dict("list"), "w": [0, 1, None]}, features)
    levels = DirectOutcomeDataset.from_hf(labels, covariates=["w"]).covariates["w"]
    assert levels.tolist()[:2] == ["x", "y"]
    assert levels.isna().tolist() == [False, False, True]


def test_missing_groups_and_readers_are_dropped():
    frame = pd.DataFrame({"text": list("abcd"), "outcome": range(4), "g": ["x", None, "y", "z"], "r": [1, 2, None, 3]})
    with pytest.warns(DroppedRowsWarning, match="1 with no group, 1 with no reader"):
        data = DirectOutcomeDataset.from_frame(frame, group="g", reader="r")
    assert data.group.tolist() == data.reader.tolist() == [0, 1]


def change(column, value):
    def apply(frame):
        changed = frame.astype({column: object})
        changed.loc[2, column] = value
        return changed

    return apply


@pytest.mark.parametrize(("apply", "roles", "message"), [
    (lambda f: f, {"outcome": "rsp"}, r"no column 'rsp' for outcome \(did you mean 'resp'\?\); there are: text, resp"),
    (lambda f: f[:0], {}, "has no rows"),
    (lambda f: f.assign(resp=2.0), {}, "all outcomes in column 'resp' are 2"),
    (change("resp", "high"), {}, "column 'resp', row 3 is 'high': must be a number"),
    (change("resp", np.inf), {}, "column 'resp', row 3 is inf: must be finite"),
    (change("text", 7), {}, "column 'text', row 3 is 7: must be text"),
    (change("views", 0), {}, "column 'views', row 3 is 0.0: a weight must be positive"),
    (change("views", 1e308), {}, r"row 3 is 1e\+308: a weight must be below 1e\+75"),
    (lambda f: f.assign(age=[1.0, 2.0, -np.inf, 3.0]), {}, "column 'age', row 3 is -inf: must be finite"),
    (lambda f: f, {"covariates": ["resp"]}, "column 'resp' is both outcome and covariates"),
    (lambda f: f, {"covariates": ["age", "age"]}, "column 'age' is named twice in covariates"),
    (lambda f: f.assign(log_q=0.5), {"behavior_log_prob": "log_q"}, "row 1 is 0.5: a log-probability cannot be"),
    (lambda f: f.assign(text=None), {}, "no row is left: 4 with no text"),
    (change("text", "a \ud83d"), {}, "column 'text', row 3 is .*half of a character"),
    (change("who", [1]), {}, r"column 'who', row 3 is \[1\]: must be a number or a name"),
    (change("resp", [1]), {}, r"column 'resp', row 3 is \[1\]: must be a number"),
    (lambda f: f.assign(resp=pd.Timestamp(2020, 1, 1)), {}, r"column 'resp', row 1 is Timestamp.*: must be a number"),
    (lambda f: f.assign(age=pd.Timedelta(1, "D")), {}, "column 'age' holds times"),
    (lambda f: f.assign(resp=10**400), {}, "column 'resp', row 1 is .*: must be finite"),
    (change("views", -1), {"weight": "views"}, "row 3 is -1.0: a weight must be positive"),
    (change("views", "1_000"), {}, "column 'views', row 3 is '1_000': must be a number"),
    (lambda f: f.set_axis(["text", "resp", "age", "age", "views", "who", "log_q"], axis=1), {"covariates": ["age"]},
     "several columns 'age'"),
])  # fmt: skip
def test_what_cannot_be_used_is_named(frame, apply, roles, message):
    with pytest.raises(DataError, match=f"^survey.csv: .*{message}") as caught:
        DirectOutcomeDataset.from_frame(apply(frame), source="survey.csv", **{**ROLES, **roles})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"direction": "up"}, {"on_missing": "ignore"}, {"covariates": "age"}])
def test_settings_that_do_not_exist(frame, settings):
    with pytest.raises(ConfigError):
        DirectOutcomeDataset.from_frame(frame, outcome="resp", **settings)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "latin.csv").write_bytes("text,outcome\ncaf\xe9,1\n".encode("latin-1"))
    (tmp_path / "broken.csv").write_text('text,outcome\n"one,1\n')
    (tmp_path / "wide.csv").write_text("text,outcome\none, two,1\none, three,2\n")
    (tmp_path / "twice.csv").write_text("text,text,outcome\none,two,1\none,three,2\n")
    (tmp_path / "long.csv").write_text("text,outcome\none,1\none, three,2\n")
    (tmp_path / "header.csv").write_text("text,outcome\n")
    (tmp_path / "broken.jsonl").write_text('{"text": "one"\n')
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "table.pdf").touch()
    (tmp_path / "folder").mkdir()
    for name, message in {
        "none.csv": "there is no such file",
        "empty.csv": "is empty",
        "latin.csv": "is not UTF-8",
        "broken.csv": "cannot be parsed",
        "wide.csv": "line 2 has 3 cells and the header 2; put texts that contain ',' in quotes",
        "twice.csv": "several columns 'text'",
        "long.csv": "cannot be parsed: .*line 3",
        "header.csv": "has no rows",
        "broken.jsonl": "cannot be parsed: line 1",
        "broken.parquet": "cannot be parsed",
        "table.pdf": "no reader for .pdf; there are: .csv",
        "folder": "folder",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            DirectOutcomeDataset.from_path(tmp_path / name)
        assert "\n" not in str(caught.value), name


def test_splits_of_a_dataset_dict_must_be_chosen(frame):
    rows = datasets.Dataset.from_pandas(frame)
    both = datasets.DatasetDict({"train": rows, "test": rows})
    with pytest.raises(DataError, match=r"holds the splits 'train', 'test'; take one, such as data\['train'\]"):
        DirectOutcomeDataset.from_hf(both, **ROLES)


def test_only_tables_are_tables(tmp_path):
    with pytest.raises(DataError, match="is a dict, not a pandas DataFrame"):
        DirectOutcomeDataset.from_frame({"text": ["a"]})
    with pytest.raises(DataError, match="is a list, not a datasets"):
        DirectOutcomeDataset.from_hf([1])


@pytest.mark.parametrize("size", [0.0, 1.0, 1.5, 3])
def test_a_share_that_is_none(frame, size):
    with pytest.raises(ConfigError, match="test size must be a number above 0 and below 1"):
        DirectOutcomeDataset.from_frame(frame, **ROLES).split(test_size=size)


def test_one_group_cannot_be_split():
    data = DirectOutcomeDataset.from_frame(pd.DataFrame({"text": ["a", "a"], "outcome": [1, 2]}))
    with pytest.raises(DataError, match="all rows are of one group"):
        data.split()


HONGKONG = ROOT / ".." / "shared" / "data" / "hongkong"


@pytest.mark.skipif(not HONGKONG.is_dir(), reason="the Hong Kong survey is not here")
def test_the_survey_with_six_rows_without_text():
    first = DirectOutcomeDataset.from_path(HONGKONG / "wave1.csv", outcome="resp", reader="reader")
    with pytest.warns(DroppedRowsWarning, match="6 of 2072 rows left out: 6 with no text"):
        second = DirectOutcomeDataset.from_path(HONGKONG / "wave2.csv", outcome="resp", attributes=["brave", "evil"])
    assert (len(first), len(second)) == (1983, 2066)
    assert second.attributes.isin([0.0, 1.0]).all(axis=None)


POPQUORN = HONGKONG.parent / "popquorn" / "offensiveness.csv"


@pytest.mark.skipif(not POPQUORN.is_file(), reason="the ratings of offensiveness are not here")
def test_ratings_by_readers_with_covariates():
    roles = {"outcome": "offensiveness", "covariates": ["gender", "race", "age"], "reader": "reader"}
    data = DirectOutcomeDataset.from_path(POPQUORN, **roles, direction="minimize")
    assert len(data) == 13036
    assert len(np.unique(data.reader)) == 262
    assert set(data.covariates["gender"]) == {"Man", "Woman", "Non-binary"}
    train, test = data.split(0.3, seed=1)
    assert not set(train.texts) & set(test.texts)


def table(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"outcome": np.arange(n, dtype=float), **columns})


def test_what_is_drawn_is_split_by_and_clustered_by():
    """Two texts, three readers who each read both, two prompts."""
    frame = table(text=["a", "b"] * 6, who=np.repeat([0, 1, 2], 4), prompt=(["p"] * 2 + ["q"] * 2) * 3)
    texts = DirectOutcomeDataset.from_frame(frame.drop(columns="prompt"), reader="who")
    assert texts.group.tolist() == [0, 1] * 6
    text, reader = texts.cluster()
    assert text.tolist() == [0, 1] * 6
    assert reader.tolist() == np.repeat([0, 1, 2], 4).tolist()
    known = texts.with_population(FIXED)
    assert known.group.tolist() == reader.tolist()
    assert known.cluster().tolist() == reader.tolist()
    train, test = known.split(test_size=0.3, seed=0)
    assert not set(train.reader) & set(test.reader)
    assert set(train.texts) == set(test.texts) == {"a", "b"}
    prompts = DirectOutcomeDataset.from_frame(frame, prompt="prompt")
    assert prompts.cluster().tolist() == ([0, 0, 1, 1] * 3)
    assert prompts.cluster(Population("drawn", "fixed")).tolist() == [0, 1, 2, 3] * 3
    assert prompts.cluster(FIXED) is None
    alone = DirectOutcomeDataset.from_frame(frame.assign(prompt="p"), prompt="prompt")
    assert alone.group.tolist() == [0, 1] * 6, "a single prompt is no sample"


def test_a_group_named_for_the_reader_keeps_the_texts_cluster_where_texts_are_drawn():
    frame = table(text=["a", "b"] * 6, who=np.repeat([0, 1, 2], 4), wave=["x"] * 6 + ["y"] * 6)
    by_reader = DirectOutcomeDataset.from_frame(frame, group="who")
    text, reader = by_reader.cluster()
    assert (text.tolist(), reader.tolist()) == ([0, 1] * 6, np.repeat([0, 1, 2], 4).tolist())
    assert by_reader.cluster(FIXED).tolist() == reader.tolist()
    topics = table(text=["a", "b", "c", "d"] * 3, topic=["s", "s", "t", "t"] * 3)
    assert DirectOutcomeDataset.from_frame(topics, group="topic").cluster().tolist() == [0, 0, 1, 1] * 3
    with pytest.raises(DataError, match="three ways of clustering"):
        DirectOutcomeDataset.from_frame(frame.assign(wave=["x", "y", "y"] * 4), group="wave", reader="who").cluster()


def test_a_population_is_drawn_or_fixed():
    with pytest.raises(ConfigError, match=r"population\.texts must be 'drawn' or 'fixed', not 'known'"):
        Population("known")
