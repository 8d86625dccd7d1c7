"""A whole run in a small world: every file, the same numbers again, resumed after a kill, evaluated anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import causalopt as co
from causalopt.backends import load_policy
from causalopt.data.population import FIXED
from causalopt.digits import number
from causalopt.run.config import parse_config
from causalopt.run.evaluate import evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

NAIVE = {"objective": {"name": "cpo", "kl": 0.3}, "outcome_model": "zero", "assignment_model": "randomized"}
FINITE = {
    "data": {"world": {"name": "template"}, "rows": 2000},
    "outcome_model": "ridge",
    "assignment_model": "gaussian",  # comparing others would take most of the time
    "objective": {"kl": 0.3},
    "backend": "finite",
    "comparisons": {"naive": NAIVE},
    "evaluation": {"draws": 200},
}
TINY = {
    **FINITE,
    "data": {"world": {"name": "template"}, "rows": 300},
    "backend": {
        "name": "huggingface",
        "model": "scratch:tiny",
        "reference": {"training": {"num_train_epochs": 2}},
        "training": {"num_train_epochs": 1, "save_steps": 2},
        "sampling": {"max_new_tokens": 32},  # some texts have no end by then, of which a run warns before it is killed
    },
    "samples": {"per_row": 1},
    "evaluation": {"draws": 40, "estimators": ["sndr", "dm"]},
    "choose": None,  # 300 rows would leave the policy at the reference
    "comparisons": {},
}
FILES = (
    "config.yaml", "manifest.json", "pseudo_outcomes.parquet", "samples.parquet", "metrics.json", "report.html",
    "policy", "reference", "end", "objective_texts.parquet", "frontier.parquet", "training.jsonl", "comparisons",
)  # fmt: skip


def metrics(directory: Path) -> dict:
    return json.loads((directory / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finite(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "finite"
    run(prepare(parse_config(FINITE)), directory)
    return directory


def test_a_run_leaves_every_file_and_no_other(finite):
    assert sorted(path.name for path in finite.iterdir()) == sorted(FILES)
    assert not list(finite.parent.glob(".*"))
    listed = json.loads((finite / "manifest.json").read_text())["files"]
    files = sorted(str(path.relative_to(finite)) for path in finite.rglob("*") if path.is_file())
    assert sorted([*listed, "manifest.json"]) == files


def test_the_adjusted_policy_gains_and_the_naive_one_is_fooled(finite):
    found = metrics(finite)
    gained = found["truth"]["difference"]
    assert found["truth"]["gain_share"] > 0.7
    assert found["comparisons"]["naive"]["truth"]["difference"] < gained / 3


def test_the_values_are_those_of_the_estimators(finite):
    found = metrics(finite)
    value = found["value"]
    difference = value["policy"]["estimate"] - value["reference"]["estimate"]
    assert value["difference"]["estimate"] == pytest.approx(difference, abs=1e-12)
    for row in found["estimates"]:
        assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert {row["estimator"] for row in found["estimates"]} == {"balance", "sndr", "dr", "snipw", "dm"}
    assert 0 < found["overlap"]["ess_fraction"] <= 1
    robust = found["evidence"]["robustness_value_interval"]
    assert 0 <= robust <= found["evidence"]["robustness_value"] <= 1
    assert f"{100 * robust:.1f}%" in found["verdict"]


def test_the_table_of_pseudo_outcomes_is_that_of_the_training_rows(finite):
    table = pd.read_parquet(finite / "pseudo_outcomes.parquet")
    world = co.simulation.TemplateWorld()
    train, test = world.sample(2000, 0).with_population(FIXED).split(test_size=0.3, seed=0)
    assert set(train.texts) & set(test.texts), "a choice among known texts is not judged on texts that it never met"
    train, _ = train.split(test_size=0.2, seed=0)  # the rest chooses how far to go
    assert table["row"].tolist() == train.row.tolist()
    np.testing.assert_allclose(table["xi"], table["residual"] + table["g"], rtol=1e-12)
    np.testing.assert_allclose(table["residual"], table["s"] * (train.outcome - table["m"]), rtol=1e-12)
    assert np.corrcoef(table["g"], world.true_dose_response(train.texts))[0, 1] > 0.8


def test_the_policy_is_the_chosen_point_of_the_path(finite):
    found = metrics(finite)["frontier"]
    frame = pd.read_parquet(finite / "frontier.parquet")
    assert 0 < found["chosen"] == float(frame.loc[frame["chosen"], "factor"].iloc[0])
    reference, end, policy = (load_policy(finite / name) for name in ("reference", "end", "policy"))
    np.testing.assert_array_equal(end.interpolated(reference, found["chosen"]).theta, policy.theta)
    assert found["rows"] == 280
    assert f"{number(metrics(finite)['kl'])} nats was chosen" in found["sentence"]


def test_too_few_rows_set_none_apart_and_say_so(tmp_path):
    """80 rows: a fifth of 56 training rows are 11, from which nothing could be concluded."""
    plan = prepare(parse_config({**FINITE, "data": {"world": {"name": "template"}, "rows": 80}, "comparisons": {}}))
    assert plan.apart is None
    found = run(plan, tmp_path / "run")
    assert found["frontier"] is None
    assert not (tmp_path / "run" / "frontier.parquet").exists()
    assert any("20% of 56 training rows are fewer than 20" in one for one in found["warnings"])
    policy, end = (load_policy(tmp_path / "run" / name).theta for name in ("policy", "end"))
    np.testing.assert_array_equal(policy, end)


def test_no_outcome_of_the_test_rows_takes_part_in_the_choice(tmp_path):
    """With other outcomes in the test rows, and nothing else changed, the policy and its path are the same."""
    frame = co.simulation.TemplateWorld().sample(900, 0).to_frame().rename(columns={"covariate:age": "age"})
    config = {
        "data": {"path": str(tmp_path / "table.csv"), "text": "text", "outcome": "outcome", "covariates": ["age"]},
        "outcome_model": "ridge",
        "assignment_model": "randomized",
        "backend": "finite",
        "evaluation": {"draws": 50},
    }
    frame.to_csv(tmp_path / "table.csv", index=False)
    plan = prepare(parse_config(config))
    run(plan, tmp_path / "first")
    frame.loc[plan.test.row, "outcome"] = frame.loc[plan.test.row, "outcome"].to_numpy()[::-1] * 3
    frame.to_csv(tmp_path / "table.csv", index=False)
    run(prepare(parse_config(config)), tmp_path / "second")
    first, second = (pd.read_parquet(tmp_path / name / "frontier.parquet") for name in ("first", "second"))
    pd.testing.assert_frame_equal(first, second)
    policies = [load_policy(tmp_path / name / "policy").theta for name in ("first", "second")]
    np.testing.assert_array_equal(*policies)
    assert metrics(tmp_path / "first")["value"] != metrics(tmp_path / "second")["value"]


def test_samples_hold_both_policies_and_the_truth(finite):
    samples = pd.read_parquet(finite / "samples.parquet")
    assert samples["policy"].value_counts().to_dict() == {"reference": 200, "policy": 200, "naive": 200}
    mean = samples.groupby("policy")["truth"].mean()
    assert mean["policy"] > mean["reference"]


def test_the_written_configuration_repeats_the_run(finite, tmp_path):
    written = yaml.safe_load((finite / "config.yaml").read_text())
    assert written["outcome_model"]["products"] == 256  # a default, written out
    run(prepare(parse_config(written)), tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(finite)


def test_an_evaluation_of_the_saved_run_gives_its_numbers(finite):
    again = evaluate_run(finite)
    found = metrics(finite)
    for part in ("value", "overlap", "kl", "truth", "estimates"):
        assert again[part] == found[part], part


def test_another_policy_is_evaluated_on_the_same_rows(finite):
    nothing = evaluate_run(finite, policy=str(finite / "reference"))
    difference = nothing["value"]["difference"]
    assert difference["estimate"] == difference["se"] == 0, "a policy against itself"
    assert nothing["kl"] == nothing["kl_se"] == 0


def test_a_policy_on_disk_is_the_policy(finite):
    world = co.simulation.TemplateWorld()
    policy, reference = (load_policy(finite / name) for name in ("policy", "reference"))
    assert world.true_value(policy).value == metrics(finite)["truth"]["policy_given_texts"]
    assert world.kl(policy, reference) == metrics(finite)["truth"]["kl"]


def test_the_python_api_gives_the_run_s_numbers(finite):
    world = co.simulation.TemplateWorld()
    train, test = world.sample(2000, 0).with_population(FIXED).split(test_size=0.3, seed=0)
    train, apart = train.split(test_size=0.2, seed=0)
    nuisances = co.PseudoOutcomeEstimator(outcome_model="ridge", assignment_model="gaussian")
    policy = co.optimize(
        nuisances.fit_transform(train),
        objective={"name": "dr_cpo", "kl": 0.3},
        backend={"name": "finite", "candidates": world.texts},
        choose=nuisances.fit_transform(apart),
    )
    frame = pd.read_parquet(finite / "frontier.parquet")
    pd.testing.assert_frame_equal(frame, policy.frontier.frame, check_dtype=False, rtol=1e-10)
    result = co.evaluate(policy, test, nuisances=nuisances, draws=200)
    value = metrics(finite)["value"]["difference"]
    assert result.difference.value == pytest.approx(value["estimate"], abs=1e-10)
    assert result.difference.confint()[0] == pytest.approx(value["ci_low"], abs=1e-10)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    run(prepare(parse_config(TINY)), directory)
    return directory


@pytest.mark.slow
def test_a_language_model_run_repeats_to_the_last_digit(tiny, tmp_path):
    run(prepare(parse_config(TINY)), tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(tiny)


@pytest.mark.slow
def test_the_truth_is_of_all_that_the_model_writes(tiny):
    """Beside estimates of the same; its other texts, too, have a true response among the samples."""
    found, samples = metrics(tiny), pd.read_parquet(tiny / "samples.parquet")
    outside = ~samples["text"].isin(co.simulation.TemplateWorld().texts)
    assert outside.any()
    assert samples["truth"].notna().all()
    for truth in (found["truth"], *(part["truth"] for part in found["comparisons"].values())):
        assert truth["se"] > 0
        assert truth["policy"] != truth["policy_given_texts"]
    policy = load_policy(tiny / "policy")
    drawn = samples.loc[samples["policy"] == "policy", "text"].tolist()
    world = co.simulation.TemplateWorld()
    assert found["truth"]["policy"] == co.simulation.value_of_all_texts(world, policy, drawn).value


@pytest.mark.slow
def test_a_moved_run_evaluates_to_the_same_numbers(tiny, tmp_path):
    moved = tmp_path / "moved"
    tiny.rename(moved)
    try:
        again = evaluate_run(moved)
        for part in ("value", "truth"):
            assert again[part] == metrics(moved)[part], part
    finally:
        moved.rename(tiny)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(tiny, tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY))
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "causalopt", "run", str(config), "--out", str(directory)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(directory.glob(".work/optimisation-policy/*/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (directory / "metrics.json").exists()
    subprocess.run([*command, "--resume"], check=True, capture_output=True, timeout=300)
    assert metrics(directory) == metrics(tiny)
    assert any("have no end" in one for one in metrics(directory)["warnings"])
