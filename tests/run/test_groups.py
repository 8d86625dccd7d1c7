"""Groups of readers in a run: configuration, metrics.json, terminal, report, and the same groups evaluated again."""

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
from causalopt.run.evaluate import evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

TEXTS = [
    f"{a} {b} {c}" for a in ("help", "give", "act") for b in ("now", "soon", "please") for c in ("we", "you", "all")
]
PLEASE = np.array(["please" in text for text in TEXTS], dtype=float)
P = np.exp(PLEASE) / np.exp(PLEASE).sum()


def table(n=900, seed=0):
    """Most readers like "please"; those of the <right> dislike it."""
    rng = np.random.default_rng(seed)
    shown, party = rng.integers(27, size=n), rng.choice(["left", "<right>"], n, p=[0.7, 0.3])
    y = np.where(party == "left", 2.0, -2.0) * PLEASE[shown] + rng.normal(size=n)
    frame = pd.DataFrame({"text": np.array(TEXTS)[shown], "resp": y, "party": party, "age": rng.normal(40, 10, n)})
    frame["log_q"], frame["log_p"] = np.log(1 / 27), np.log(P)[shown]
    frame["drawn"] = rng.choice(TEXTS, size=n, p=P)
    return frame


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "survey.csv"
    table().to_csv(path, index=False)
    return path


def config(path, **evaluation):
    roles = {"outcome": "resp", "covariates": ["party", "age"], "population": {"texts": "fixed"}}
    return {
        "data": {"path": str(path), **roles},
        "outcome_model": "ridge",
        "assignment_model": "randomized",
        "objective": {"kl": 0.3},
        "backend": "finite",
        "choose": None,  # groups are found in all training rows
        "evaluation": {"draws": 100, "estimators": ["sndr"], **evaluation},
    }


@pytest.fixture(scope="module", params=["named", "found"])
def finished(request, survey, tmp_path_factory):
    groups = {"named": ["party", "age"], "found": "found"}[request.param]
    directory = tmp_path_factory.mktemp("runs") / request.param
    run(prepare(parse_config(config(survey, groups=groups))), directory)
    return request.param, directory


def test_the_losing_group_stands_beside_the_verdict_and_in_the_report(finished):
    _, directory = finished
    metrics = json.loads((directory / "metrics.json").read_text())
    found = metrics["groups"]
    by_name = {one["group"]: one for one in found["gains"]}
    losing = next(one for one in by_name if "party = <right>" in one)
    assert by_name[losing]["outlook"] == "loses"
    assert f"Readers with {losing} lose: resp would move by -" in metrics["verdict"]
    assert found["sentence"] in metrics["verdict"]
    assert found["heterogeneity_p_value"] < 0.01
    assert set(metrics["value"]["difference"]) == {"estimate", "se", "ci_low", "ci_high", "estimator"}
    report = (directory / "report.html").read_text()
    assert "For whom" in report
    assert "party = &lt;right&gt;" in report
    table = report[report.index('aria-label="Difference by group of readers"') :].partition("</table>")[0]
    drawn = table.count("<circle")
    assert drawn == sum(row["gain"] is not None for row in found["gains"])
    again = evaluate_run(directory)
    assert again["groups"] == found


def test_estimate_prints_the_table(survey, tmp_path, monkeypatch, capsys):
    out = tmp_path / "values.json"
    arguments = ["estimate", str(survey), "--outcome", "resp", "--covariate", "party", "--covariate", "age"]
    arguments += [
        "--policy-log-prob",
        "log_p",
        "--behavior-log-prob",
        "log_q",
        "--policy-text",
        "drawn",
        "--out",
        str(out),
    ]
    for override in (
        "evaluation.groups=[party]", "evaluation.estimators=[sndr]", "evaluation.benchmark=[]", "outcome_model=ridge",
        "assignment_model=randomized",
    ):  # fmt: skip
        arguments += ["--set", override]
    monkeypatch.setattr(sys, "argv", ["causalopt", *arguments])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    printed = capsys.readouterr().out
    assert "For whom (resp)" in printed
    assert "<right>" in printed  # the cell may be wrapped
    assert "equal gains in all groups: p = " in printed
    assert json.loads(out.read_text())["groups"]["definitions"][0]["division"] == "party"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["gender"], "evaluation.groups: 'gender' is not a covariate"),
        ("found", "evaluation.groups: found needs training rows"),
    ],
)
def test_clear_lines(survey, groups, message):
    settings = parse_config(config(survey, groups=groups) | {"estimate": {"policy": "nowhere"}})
    if groups == "found":
        with pytest.raises(ConfigError, match=message):
            estimate_value(settings)
        bare = config(survey, groups="found")
        bare["data"]["covariates"] = []
        settings, message = parse_config(bare), "evaluation.groups: groups of readers need covariates"
    with pytest.raises(ConfigError, match=message):
        prepare(settings)


def test_an_unknown_word_for_groups_is_refused():
    with pytest.raises(ConfigError, match=r"evaluation\.groups"):
        parse_config({"data": {"path": "x.csv"}, "evaluation": {"groups": "fuond"}})
