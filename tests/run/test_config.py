"""Configuration files: defaults written out, overrides, and one clear line for what is wrong."""

from __future__ import annotations

import pytest
import yaml

from causalopt.errors import ConfigError
from causalopt.run.config import load_config, parse_config


def test_only_data_is_required_and_every_default_is_written_out():
    config = parse_config({"data": {"path": "survey.csv"}})
    assert parse_config(yaml.safe_load(config.dump())) == config
    assert {"objective", "backend", "cross_fitting", "evaluation", "seed"} <= set(yaml.safe_load(config.dump()))


def test_a_part_may_be_its_name_alone_or_settings_of_the_default():
    config = parse_config({"data": {"path": "survey.csv"}, "outcome_model": "ridge", "objective": {"kl": 0.2}})
    assert config.outcome_model == {"name": "ridge"}
    assert config.objective == {"name": "dr_cpo", "kl": 0.2}


def test_overrides_are_yaml_and_reach_nested_keys(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: {path: survey.csv}\n")
    config = load_config(path, ["objective.kl=0.5", "data.covariates=[age, party]", "seed=3"])
    assert config.objective["kl"] == 0.5
    assert config.data.columns.covariates == ("age", "party")
    assert config.seed == 3


@pytest.mark.parametrize(("raw", "message"), [
    ({}, "'data' is missing"),
    ({"data": {"path": "a"}, "evalution": {}}, r"no key 'evalution' \(did you mean 'evaluation'\?\)"),
    ({"data": {"path": "a", "covariate": []}}, r"no key 'data.covariate' \(did you mean 'covariates'\?\)"),
    ({"data": {}}, "exactly one of 'path'"),
    ({"data": {"path": "a", "world": "template"}}, "exactly one of 'path'"),
    ({"data": {"path": "a"}, "evaluation": {"level": 2}}, "evaluation.level: .*less than 1"),
    ({"data": {"path": "a"}, "behavior_policy": "logged"}, "needs data.behavior_log_prob"),
    ({"data": {"path": "a"}, "comparisons": {"x": {"objectiv": {}}}}, r"did you mean 'objective'\?"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(raw, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(raw, source="run.yaml")
    assert str(caught.value).startswith("run.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("data: [", "not valid YAML"),
    ("just text", "must be a mapping"),
])  # fmt: skip
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("override", ["seed", "=1", "seed.deeper=1"])
def test_overrides_that_cannot_be_applied(tmp_path, override):
    path = tmp_path / "run.yaml"
    path.write_text("data: {path: survey.csv}\nseed: 1\n")
    with pytest.raises(ConfigError, match="--set"):
        load_config(path, [override])
