"""Ordinary tables of the kinds that people have, from the file to rows: `init` proposes, and what is read is right."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.data.files import read_table
from causalopt.data.proposal import propose
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.messages import write_prompt
from causalopt.run.config import load_config
from causalopt.run.first_configuration import as_yaml, first_backend
from causalopt.run.plan import prepare
from causalopt.run.tables import read_dataset

ROWS = 240
WHO, DOES, WHAT = (
    ("Our teacher", "The baker", "A pilot"),
    ("wants you", "begs us"),
    ("to read.", "to rest.", "to sing."),
)
TEXTS = [f"{who} {does} {what}" for who in WHO for does in DOES for what in WHAT]
WORDS = {1: "Strongly disagree", 2: "Disagree", 3: "Neither", 4: "Agree", 5: "Strongly agree"}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    text = rng.integers(0, len(TEXTS), ROWS)
    return pd.DataFrame({
        "text": [TEXTS[i] for i in text],
        "years": rng.integers(18, 80, ROWS),
        "region": rng.choice(["north", "south", "none"], ROWS),
        "rating": np.concatenate([np.arange(1, 6), rng.integers(1, 6, ROWS - 5)]),
    })  # fmt: skip


def through_init(path: Path, **given: str) -> DirectOutcomeDataset:
    table = read_table(path)
    proposal = propose(table, given, str(path))
    assert not proposal.missing, proposal
    written = path.parent / f"{path.name}.yaml"
    written.write_text(as_yaml(path, proposal, *first_backend(table, proposal.settings)), encoding="utf-8")
    config = load_config(written)
    return read_dataset(config.data.path, config.data)


def zipped(frame: pd.DataFrame, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.csv", frame.to_csv(index=False))


def survey(frame: pd.DataFrame, path: Path) -> None:
    header, *rows = frame.to_csv(index=False).splitlines()
    questions = '"What did you\nread?","How old are you?",Where?,"How convincing, 1 to 5?"'
    marks = ",".join(f'"{{""ImportId"":""QID{i}""}}"' for i in range(4))
    path.write_text("\n".join([header, questions, marks, *rows]), encoding="utf-8")


def renamed(frame: pd.DataFrame, path: Path) -> None:
    frame.rename(columns={"text": " the text ", "rating": "How good (1-5)?"}).to_csv(path, index=False)


def lines(frame: pd.DataFrame) -> str:
    return frame.to_json(orient="records", lines=True)


SAME = {
    "plain.csv": lambda f, p: f.to_csv(p, index=False),
    "UPPER.CSV": lambda f, p: f.to_csv(p, index=False),
    "bom.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-8-sig"),
    "utf16.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-16"),
    "semicolon.csv": lambda f, p: f.to_csv(p, index=False, sep=";"),
    "tabs.csv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "bars.txt": lambda f, p: f.to_csv(p, index=False, sep="|"),
    "commas.tsv": lambda f, p: f.to_csv(p, index=False),
    "packed.csv.gz": lambda f, p: f.to_csv(p, index=False),
    "packed.zip": zipped,
    "records.json": lambda f, p: f.to_json(p, orient="records"),
    "lines.json": lambda f, p: p.write_text(lines(f), encoding="utf-8"),
    "lines.jsonl": lambda f, p: p.write_text(lines(f), encoding="utf-8"),
    "lines.jsonl.gz": lambda f, p: p.write_bytes(gzip.compress(lines(f).encode())),
    "table.parquet": lambda f, p: f.to_parquet(p),
    "table.arrow": lambda f, p: f.to_feather(p),
    "table.xlsx": lambda f, p: f.to_excel(p, index=False),
    "table.sav": lambda f, p: pyreadstat.write_sav(f, p),
    "table.dta": lambda f, p: f.to_stata(p, version=118, write_index=False),
    "decimals.csv": lambda f, p: f.assign(rating=[f"{r},0" for r in f["rating"]]).to_csv(p, index=False, sep=";"),
    "percent.csv": lambda f, p: f.assign(rating=[f"{r}%" for r in f["rating"]]).to_csv(p, index=False),
    "likert.csv": lambda f, p: f.assign(rating=f["rating"].map(WORDS)).to_csv(p, index=False),
    "numbered.csv": lambda f, p: f.assign(rating=[f"{r} - so so" for r in f["rating"]]).to_csv(p, index=False),
    "survey.csv": survey,
    "twice.csv": lambda f, p: pd.concat([f, f["text"]], axis=1).to_csv(p, index=False),
    "spaces.csv": renamed,
}  # fmt: skip
"""What writes the same table in other ways."""


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
@pytest.mark.parametrize("name", SAME)
def test_the_same_table_however_it_is_written(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    SAME[name](frame, tmp_path / name)
    data = through_init(tmp_path / name)
    assert data.texts == frame["text"].tolist()
    assert data.outcome.tolist() == frame["rating"].tolist()
    years, region = data.covariates.columns
    assert data.covariates[years].tolist() == frame["years"].tolist()
    assert data.covariates[region].tolist() == frame["region"].tolist()


@pytest.mark.parametrize(("words", "high"), [
    (("no", "yes"), "yes"), (("down", "up"), "up"), (("False", "True"), "True"), (("👎", "👍"), "👍"),
])  # fmt: skip
def test_two_words_are_zero_and_one(words: tuple[str, str], high: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    answers = np.where(frame["rating"] > 3, words[1], words[0])
    frame.assign(rating=answers).to_csv(tmp_path / "t.csv", index=False)
    assert through_init(tmp_path / "t.csv").outcome.tolist() == (answers == high).astype(float).tolist()


def test_raters_in_columns_become_rows(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": TEXTS, "rater1": 1, "rater2": range(18), "rater3": 3})
    table["rater2"] = table["rater2"] % 5 + 1
    table["rater3"] = table["rater3"].astype(object).where(table.index != 4, None)
    table.to_csv(tmp_path / "wide.csv", index=False)
    data = through_init(tmp_path / "wide.csv")
    assert data.texts[:3] == TEXTS[:1] * 3
    assert data.outcome[:3].tolist() == [1, 1, 3]
    assert len(data) == 3 * len(TEXTS) - 1
    assert len(np.unique(data.reader)) == 3


def test_an_encoding_that_is_no_unicode_is_named_with_an_example(frame: pd.DataFrame, tmp_path: Path) -> None:
    german = frame.assign(text=frame["text"].str.replace("The baker", "Die Bäckerin"))
    german.to_csv(tmp_path / "latin.csv", index=False, encoding="latin-1")
    with pytest.warns(CausalOptWarning, match="is not UTF-8, and was read as Windows-1252, as in 'Bäckerin'"):
        assert through_init(tmp_path / "latin.csv").texts == german["text"].tolist()
    russian = frame.assign(text="Пекарь просит нас " + frame["text"])
    russian.to_csv(tmp_path / "russian.csv", index=False, encoding="cp1251")
    with pytest.raises(DataError, match=r"is not UTF-8; name its encoding \(data.encoding, such as cp1251\)"):
        read_table(tmp_path / "russian.csv")
    named = DirectOutcomeDataset.from_path(tmp_path / "russian.csv", outcome="rating", encoding="cp1251")
    assert named.texts == russian["text"].tolist()


def test_kinds_of_covariates(frame: pd.DataFrame, tmp_path: Path) -> None:
    more = frame.assign(
        day=pd.date_range("2024-01-01", periods=ROWS, freq="12h").astype(str),
        share=[f"{i % 50}%" for i in range(ROWS)],
        income=[f"{i % 90 + 10},000" for i in range(ROWS)],
        years=frame["years"].astype(str).where(frame.index > 2, "prefer not to say"),
        code=[f"R_{i:04d}" for i in range(ROWS)],
        constant="same",
    )
    more.to_csv(tmp_path / "t.csv", index=False)
    table = read_table(tmp_path / "t.csv")
    proposal = propose(table, {}, "t.csv")
    assert proposal.settings["covariates"] == ["years", "region", "day", "share", "income"]
    assert proposal.reasons["code"] == "left out: 240 values in 240 rows name the rows"
    assert proposal.reasons["constant"] == "left out: it is constant"
    with pytest.warns(CausalOptWarning) as said:
        data = through_init(tmp_path / "t.csv")
    words = " ".join(str(one.message) for one in said)
    assert "column 'day' holds dates, which count as days since 1970-01-01" in words
    assert "column 'share' is written with percentages: '0%' is 0" in words
    assert "column 'income' is written with commas between thousands: '10,000' is 10000; if that is wrong" in words
    assert "column 'years' holds numbers but in 3 rows ('prefer not to say'), which count as missing" in words
    assert len(data) == ROWS - 3
    assert data.covariates["day"].iloc[1] - data.covariates["day"].iloc[0] == 0.5
    assert data.covariates[["share", "income"]].iloc[0].tolist() == [3, 13000]
    with pytest.raises(DataError, match=r"column 'code' has 240 values in 240 rows: it names the rows"):
        DirectOutcomeDataset.from_frame(more, outcome="rating", covariates=["code"])


def test_words_with_digits_are_not_missing_numbers(frame: pd.DataFrame) -> None:
    open_ended = frame.assign(years=frame["years"].astype(str).where(frame.index > 2, "80+"))
    data = DirectOutcomeDataset.from_frame(open_ended, outcome="rating", covariates=["years"])
    assert len(data) == ROWS
    assert data.covariates["years"].iloc[0] == "80+"


def test_a_property_of_the_text_is_no_covariate(frame: pd.DataFrame, tmp_path: Path) -> None:
    more = frame.assign(length=frame["text"].str.len(), liberty=frame["text"].str.contains("baker").astype(int))
    proposal = propose(more, {}, "t")
    assert proposal.settings["covariates"] == ["years", "region"]
    assert "belongs to the text and not to its reader" in proposal.reasons["liberty"]


def test_a_missing_covariate_is_dropped_or_imputed_as_asked(frame: pd.DataFrame) -> None:
    gaps = frame.assign(years=frame["years"].astype(float).where(frame.index % 5 != 0))
    given: dict[str, Any] = {"outcome": "rating", "covariates": ["years", "region"]}
    with pytest.warns(CausalOptWarning, match="48 of 240 rows left out: 48 with no covariate 'years'"):
        assert len(DirectOutcomeDataset.from_frame(gaps, **given)) == 192
    data = DirectOutcomeDataset.from_frame(gaps, on_missing_covariate="impute", **given)
    assert list(data.covariates) == ["years", "region", "years is missing"]
    assert data.covariates["years is missing"].tolist() == (gaps.index % 5 == 0).astype(float).tolist()
    assert data.covariates["years"].iloc[0] == pytest.approx(gaps["years"].mean())
    half = data.subset(np.arange(10))
    assert list(half.covariates) == list(data.covariates)


def test_a_code_that_stands_apart_is_asked_about(frame: pd.DataFrame, tmp_path: Path) -> None:
    coded = frame.assign(rating=frame["rating"].where(frame.index % 4 != 0, -99))
    with pytest.raises(
        DataError, match=r"'rating' is -99 in 60 rows and 1 to 5 in all others: .*missing_values: \[-99\]"
    ):
        DirectOutcomeDataset.from_frame(coded, outcome="rating")
    with pytest.warns(CausalOptWarning, match="60 of 240 rows left out: 60 with no outcome"):
        data = DirectOutcomeDataset.from_frame(coded, outcome="rating", missing_values=[-99])
    assert data.outcome.min() == 1
    assert DirectOutcomeDataset.from_frame(coded, outcome="rating", missing_values=[]).outcome.min() == -99
    heavy = frame.assign(rating=np.where(frame.index < 2, 99, frame.index))  # 99 lies among other outcomes
    assert DirectOutcomeDataset.from_frame(heavy, outcome="rating").outcome.max() == 239


def test_words_without_numbers_are_refused_with_the_mapping_to_add(frame: pd.DataFrame) -> None:
    words = frame.assign(rating=frame["rating"].map(WORDS))
    with pytest.raises(DataError, match=r"holds words; give them numbers, such as data.outcome_map: .*'Agree': 4"):
        DirectOutcomeDataset.from_frame(words, outcome="rating")
    with pytest.raises(DataError, match=r"'rating', row 1 is 'Strongly disagree', which outcome_map does not"):
        DirectOutcomeDataset.from_frame(words, outcome="rating", outcome_map={"Agree": 1, "Disagree": 0})
    odd = frame.assign(rating=np.where(frame.index % 2, "blue", "red"))
    with pytest.raises(DataError, match=r"column 'rating', row 1 is 'red': must be a number"):
        DirectOutcomeDataset.from_frame(odd, outcome="rating")


def test_a_value_inside_of_an_object_is_named_by_its_path(frame: pd.DataFrame, tmp_path: Path) -> None:
    records = [
        {"text": text, "feedback": {"score": {"value": int(y)}}}
        for text, y in zip(frame["text"], frame["rating"], strict=True)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    data = DirectOutcomeDataset.from_path(tmp_path / "t.jsonl", outcome="feedback.score.value")
    assert data.outcome.tolist() == frame["rating"].tolist()
    with pytest.raises(DataError, match=r"no column 'feedbak.score' for outcome"):
        DirectOutcomeDataset.from_path(tmp_path / "t.jsonl", outcome="feedbak.score")


def test_chat_logs(frame: pd.DataFrame, tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What now?"}]
    answers = [[{"role": "assistant", "content": text}] for text in frame["text"]]
    logs = {
        "whole": [{"messages": [*asked, *one]} for one in answers],
        "apart": [{"prompt": asked, "completion": one} for one in answers],
        "half": [{"prompt": asked, "completion": one[0]["content"]} for one in answers],
    }
    for name, log in logs.items():
        records = [
            {**row, "feedback": {"score": int(y)}, "user": {"plan": plan}, "copy": plan, "stars": int(y)}
            for row, y, plan in zip(log, frame["rating"], frame["region"], strict=True)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        data = through_init(tmp_path / f"{name}.jsonl", outcome="stars")
        assert data.texts == frame["text"].tolist()
        assert set(data.prompts or ()) == {write_prompt(asked)}
        assert list(data.covariates) == ["copy"]  # neither another outcome nor what equals a covariate
    assert propose(read_table(tmp_path / "whole.jsonl"), {}, "t").settings["outcome"] == "feedback.score"


@pytest.mark.parametrize(("settings", "rows"), [({"skip_rows": 2}, 240), ({"skip_rows": [0, 1]}, 240)])
def test_lines_above_the_header_are_left_out_as_asked(
    settings: dict[str, Any], rows: int, frame: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("Study 7\n\n" + frame.to_csv(index=False), encoding="utf-8")
    assert len(DirectOutcomeDataset.from_path(tmp_path / "t.csv", outcome="rating", **settings)) == rows


def test_a_constant_outcome_is_not_replaced_by_another_column(frame: pd.DataFrame) -> None:
    assert propose(frame.assign(rating=5), {}, "t").settings["outcome"] == "rating"


def test_rows_limit_a_table_at_random(frame: pd.DataFrame, tmp_path: Path) -> None:
    from causalopt.run.plan import read_rows

    frame.to_csv(tmp_path / "t.csv", index=False)
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {{path: {tmp_path / 't.csv'}, outcome: rating, rows: 50}}", encoding="utf-8")
    data, _ = read_rows(load_config(config), None)
    assert len(data) == 50
    assert (np.diff(data.row) > 0).all()
    assert data.row.max() > 150


def test_what_a_table_cannot_show_is_said_before_any_work(frame: pd.DataFrame, tmp_path: Path) -> None:
    def plan_of(table: pd.DataFrame) -> Any:
        table.to_csv(tmp_path / "t.csv", index=False)
        config = tmp_path / "c.yaml"
        config.write_text(f"{{data: {{path: {tmp_path / 't.csv'}, outcome: rating}}, backend: finite}}", "utf-8")
        return prepare(load_config(config))

    with pytest.raises(DataError, match=r"every row has the same text, 'One text\.'"):
        plan_of(frame.assign(text="One text."))
    twins = frame.assign(text=frame["text"].where(frame.index % 2 == 0, frame["text"].str.upper()))
    with pytest.warns(CausalOptWarning, match="18 of 36 texts differ from another in spaces or capitals alone"):
        plan_of(twins)
    with pytest.warns(CausalOptWarning, match="the test rows hold 12 rows; nothing is concluded from fewer than 20"):
        plan_of(frame.head(40))


@pytest.mark.parametrize(("setting", "value", "said"), [
    ("sep", ";;", "sep must be one character"), ("encoding", "rot13", "encoding must be the name of one"),
    ("encoding", "utf-9", "encoding must be the name of one"), ("skip_rows", -1, "skip_rows must be a whole number"),
    ("decimal", "'", "decimal must be"), ("wide", {"raters": []}, "wide must be"),
    ("missing_values", "-99", "missing_values must be a list"), ("outcome_map", {"yes": "1"}, "'yes' must be given a"),
    ("on_missing_covariate", "mean", "on_missing_covariate must be"),
])  # fmt: skip
def test_settings_of_a_reading_are_checked(
    setting: str, value: object, said: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ConfigError, match=said):
        DirectOutcomeDataset.from_path(tmp_path / "t.csv", outcome="rating", **{setting: value})
