"""Comparisons of a run are policies: saved, scored like the main one, and named in every command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.cli.main import main
from causalopt.data.population import FIXED
from causalopt.errors import ConfigError
from causalopt.run.config import parse_config
from causalopt.run.estimate import estimate_value
from causalopt.run.evaluate import compare_runs, evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import build_nuisances, prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

NAIVE = {"objective": {"name": "cpo", "kl": 0.3}, "outcome_model": "zero", "assignment_model": "randomized"}
SETTINGS = {
    "data": {"world": {"name": "template"}, "rows": 900},  # of 400, those set apart vouch for no policy
    "outcome_model": "ridge",
    "assignment_model": "gaussian",
    "objective": {"kl": 0.3},
    "backend": "finite",
    "evaluation": {"draws": 100, "benchmark": ["age"], "groups": ["age"]},
    "comparisons": {"naive (raw)": NAIVE},
}
NAME = "naive (raw)"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    run(prepare(parse_config(SETTINGS)), folder)
    return folder


def test_each_is_a_policy_in_a_folder_and_in_the_manifest(directory):
    folder = directory / "comparisons" / NAME
    policy = load_policy(folder)
    assert isinstance(policy, FinitePolicy)
    assert not np.allclose(policy.probability, load_policy(directory / "policy").probability)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["comparisons"] == {NAME: f"comparisons/{NAME}"}
    assert f"comparisons/{NAME}/finite_policy.json" in manifest["files"]
    assert f"comparisons/{NAME}" in (directory / "report.html").read_text()


def test_it_is_scored_like_the_main_one(directory):
    found = json.loads((directory / "metrics.json").read_text())
    other = found["comparisons"][NAME]
    only_a_run_has = {"outcome", "direction", "objective", "data", "nuisance", "comparisons", "warnings", "frontier",
                      "attributes", "conversations"}  # fmt: skip
    assert set(other) - {"path"} == set(found) - only_a_run_has
    assert {row["estimator"] for row in other["estimates"]} == {row["estimator"] for row in found["estimates"]}
    assert [row["confounder"] for row in other["evidence"]["bounds"]] == [
        row["confounder"] for row in found["evidence"]["bounds"]
    ]
    assert other["evidence"]["bounds"][0]["confounder"] == "as strong as age"
    assert len(other["groups"]["gains"]) == 3
    assert set(other["truth"]) == set(found["truth"])
    # The value of the reference does not depend on which policy it is compared with, but for the shared penalty.
    references = [
        next(row for row in one["estimates"] if (row["quantity"], row["estimator"]) == ("reference", "sndr"))
        for one in (found, other)
    ]
    assert references[0]["estimate"] == references[1]["estimate"]


def test_evaluate_and_compare_take_its_name(directory):
    recorded = json.loads((directory / "metrics.json").read_text())
    other = recorded["comparisons"][NAME]
    for found in (evaluate_run(directory, policy=NAME), evaluate_run(directory / "comparisons" / NAME)):
        assert found["value"] == other["value"]
        assert found["truth"] == other["truth"]
    apart = compare_runs(directory, directory / "comparisons" / NAME)
    by = {
        who: next(row for row in one["estimates"] if (row["quantity"], row["estimator"]) == ("difference", "sndr"))
        for who, one in (("apart", apart), ("main", recorded), ("other", other))
    }
    expected = by["other"]["estimate"] - by["main"]["estimate"]
    assert by["apart"]["estimate"] == pytest.approx(expected, abs=1e-10)
    assert apart["truth"]["difference"] == pytest.approx(other["truth"]["policy"] - recorded["truth"]["policy"])


@pytest.mark.parametrize("place", ["policy", f"comparisons/{NAME}"])
def test_estimate_refuses_the_rows_that_it_was_tuned_on(directory, place):
    source = str(directory / place)
    with pytest.raises(ConfigError, match="its value would be overstated"):
        estimate_value(parse_config({**SETTINGS, "comparisons": {}, "estimate": {"policy": source}}))
    asked = {"policy": "logged", "reference": source}
    with pytest.raises(ConfigError, match="its value would be overstated"):
        estimate_value(parse_config({**SETTINGS, "comparisons": {}, "estimate": asked}))


def test_two_policies_of_a_run_on_fresh_rows_have_their_q_from_its_reference(directory):
    asked = {"policy": str(directory / "comparisons" / NAME), "reference": str(directory)}
    sections = {
        "estimate": asked,
        "data": {"world": {"name": "template"}, "rows": 300},
        "evaluation": {"draws": 100, "estimators": ["snipw"], "benchmark": []},
    }
    config = parse_config({**SETTINGS, "comparisons": {}, "seed": 3, **sections})
    found = estimate_value(config)
    recorded = json.loads((directory / "metrics.json").read_text())
    expected = recorded["comparisons"][NAME]["truth"]["policy"] - recorded["truth"]["policy"]
    assert found["truth"]["difference"] == pytest.approx(expected, abs=1e-9)
    nuisances = build_nuisances(config)
    rows = plugins.worlds.create({"name": "template"}).sample(300, 3).with_population(FIXED)
    pseudo = nuisances.fit_transform(rows)
    log_ratio = load_policy(directory / "policy").log_prob(None, rows.texts)
    log_ratio = log_ratio - load_policy(directory / "reference").log_prob(None, rows.texts)
    by_hand = np.exp(log_ratio) @ pseudo.xi / np.exp(log_ratio).sum()
    reference = next(row for row in found["estimates"] if row["quantity"] == "reference")
    assert reference["estimate"] == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("name", ["policy", "Reference", "logged", "../x", "a/b", "", " ", ".hidden", "end.", "a\\b"])
def test_a_name_that_cannot_be_a_folder_is_refused_in_a_line(name):
    with pytest.raises(ConfigError, match="comparison") as caught:
        parse_config({**SETTINGS, "comparisons": {name: NAIVE}})
    assert "\n" not in str(caught.value)


def test_names_that_differ_in_case_alone_are_refused():
    with pytest.raises(ConfigError, match="differ in case alone"):
        parse_config({**SETTINGS, "comparisons": {"naive": NAIVE, "Naive": NAIVE}})


def test_two_lists_from_the_command_line(tmp_path, monkeypatch, capsys):
    """ "Always A" against "always B", two tables of one line; the bounds are printed and written."""
    rng = np.random.default_rng(0)
    arm, age = rng.integers(2, size=400), rng.normal(size=400)
    texts = np.array(["Read this first.", "No need to read on."])
    frame = pd.DataFrame({"text": texts[arm], "age": age, "outcome": 0.5 * arm + age + rng.normal(size=400)})
    monkeypatch.chdir(tmp_path)
    frame.to_csv("log.csv", index=False)
    for name, text in (("a", texts[1]), ("b", texts[0])):
        pd.DataFrame({"text": [text], "probability": ["1"]}).to_csv(f"{name}.csv", index=False)
    asked = ["--policy", "a.csv", "--reference", "b.csv", "--covariate", "age", "--out", "found.json", "--verbose"]
    monkeypatch.setattr(sys, "argv", ["causalopt", "estimate", "log.csv", *asked])
    with pytest.raises(SystemExit, match="0"):
        main()
    found = json.loads((tmp_path / "found.json").read_text())
    low, high = found["value"]["difference"]["ci_low"], found["value"]["difference"]["ci_high"]
    assert low < 0.5 < high
    assert (found["policies"], found["behavior_policy"]) == ({"policy": "a.csv", "reference": "b.csv"}, "frequency")
    assert [row["confounder"] for row in found["evidence"]["bounds"]] == [
        "as strong as age", "1% of each", "5% of each", "10% of each", "as in benchmarks/coverage",
    ]  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert "What if something is not recorded?" in printed
    assert f"{found['evidence']['bounds'][0]['low']:+.4g}" in printed
    for given, said in (
        (["--policy", "a.csv", "--policy-draws", "b.csv"], "has no column 'log_prob'"),
        (["--policy", "logged", "--policy-draws", "b.csv"], "has no use"),
    ):
        monkeypatch.setattr(sys, "argv", ["causalopt", "estimate", "log.csv", *given])
        with pytest.raises(SystemExit):
            main()
        assert said in " ".join(capsys.readouterr().err.split())
