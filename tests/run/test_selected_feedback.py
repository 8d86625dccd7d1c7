"""A run and an estimate where readers choose whether to respond: files, words, and the path from a YAML file."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from causalopt.cli.main import main
from causalopt.errors import ConfigError
from causalopt.run.config import parse_config
from causalopt.run.estimate import estimate_value
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")


def table(path, n=300, seed=0):
    rng = np.random.default_rng(seed)
    shown = rng.integers(27, size=n)
    texts = [
        f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you", "all")
    ]
    frame = pd.DataFrame({"text": np.array(texts)[shown], "age": rng.normal(size=n)})
    frame["rated"] = (rng.random(n) < 1 / (1 + np.exp(-frame["age"]))).astype(int)
    frame["stars"] = np.where(frame["rated"], shown % 3 + frame["age"] + rng.normal(size=n), np.nan)
    frame["log_q"] = -np.log(27)
    frame["log_p"] = np.log(np.array([1, 2, 3]) / 54)[shown % 3]
    frame["drawn"] = rng.choice(texts, size=n, p=np.tile([1, 2, 3], 9) / 54)
    frame.to_csv(path, index=False)
    return frame


ROLES = {"text": "text", "outcome": "stars", "covariates": ["age"]}
POLICY = {"behavior_log_prob": "log_q", "policy_log_prob": "log_p", "policy_text": "drawn"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feedback")
    table(folder / "log.csv")
    raw = {
        "data": {"path": str(folder / "log.csv"), "observed": "rated", **ROLES},
        "backend": {"name": "finite"},
        "outcome_model": "ridge",
        "evaluation": {"estimators": ["balance", "sndr"], "draws": 100},
    }
    run(prepare(parse_config(raw)), folder / "run")
    return folder / "run"


def test_the_run_has_the_columns_the_numbers_and_the_words(finished):
    folder = finished
    rows = pd.read_parquet(folder / "pseudo_outcomes.parquet")
    assert rows["observed"].dtype == bool
    assert 0.2 < rows["observed"].mean() < 0.8
    assert rows["pi"].between(0, 1, inclusive="right").all()
    assert not rows.isna().any().any()
    np.testing.assert_allclose(rows.loc[~rows["observed"], "xi"], rows.loc[~rows["observed"], "g"])
    saved = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    json.dumps(saved, allow_nan=False)
    assert "rows have an outcome. The value is that of all readers, if" in saved["who_answers"]
    found = saved["evidence"]["nonresponse"]
    assert [row["delta_sd"] for row in found["table"]] == sorted(row["delta_sd"] for row in found["table"])
    middle = next(row for row in found["table"] if row["delta"] == 0)
    assert middle["estimate"] == pytest.approx(saved["value"]["difference"]["estimate"])
    assert saved["nuisance"]["test"]["observation_model"].startswith("logistic")
    assert 0.2 < saved["nuisance"]["test"]["response_rate"] < 0.8
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("What if those who do not respond are different?", "must not depend on the response", "Model of who"):
        assert said in page
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    assert "observation_model:\n  name: logistic\n  products: 64" in config


def test_an_estimate_of_rows_that_were_dropped_says_whose_value_it_is(tmp_path, monkeypatch, capsys):
    frame = table(tmp_path / "log.csv")
    metrics = estimate_value(
        parse_config(
            {
                "data": {"path": str(tmp_path / "log.csv"), **ROLES, **POLICY},
                "evaluation": {"estimators": ["sndr"], "benchmark": []},
            }
        )
    )
    left_out = int((frame["rated"] == 0).sum())
    assert metrics["who_answers"].startswith(f"{left_out} rows without an outcome were left out")
    assert metrics["evidence"]["nonresponse"] is None
    options = [f"--set=data.{role}={json.dumps(value)}" for role, value in {**ROLES, **POLICY}.items()]
    options += ["--set=data.on_missing=model", "--set=evaluation.estimators=[sndr]", "--set=evaluation.benchmark=[]"]
    monkeypatch.setattr(sys, "argv", ["causalopt", "estimate", str(tmp_path / "log.csv"), "--verbose", *options])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert "The value is that of all readers" in said
    assert "those who do not respond" in said


def test_keys_that_cannot_be_used_are_named(tmp_path):
    table(tmp_path / "log.csv")
    data = {"path": str(tmp_path / "log.csv"), **ROLES}
    with pytest.raises(ConfigError, match=r"data\.on_missing"):
        parse_config({"data": {**data, "on_missing": "keep"}})
    with pytest.raises(ConfigError, match=r"no observation model is called 'logistics' \(did you mean 'logistic'\?\)"):
        prepare(parse_config({"data": data, "observation_model": "logistics"}))
