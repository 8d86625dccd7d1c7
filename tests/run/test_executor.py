"""A run on another executor is the same run: its results are equal, and its stages are reused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from causalopt import plugins
from causalopt.errors import ConfigError
from causalopt.run.config import parse_config
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare

RAW: dict[str, Any] = {
    "data": {"world": {"name": "template"}, "rows": 600},
    "cross_fitting": {"folds": 3, "repeats": 2},
    "outcome_model": "ridge",
    "backend": "finite",
    "choose": None,
}


def test_the_default_is_this_process() -> None:
    assert parse_config(RAW).executor == {"name": "local"}
    assert prepare(parse_config(RAW)).config.executor == {"name": "local", "processes": 1, "retries": 3}
    assert parse_config({**RAW, "executor": {"processes": 2}}).executor == {"name": "local", "processes": 2}


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        ("rey", "no executor is called 'rey'.*there are: local"),
        ({"processes": 0}, "^executor.processes must be a whole number of at least 1 .*, not 0"),
        ({"process": 2}, "executor 'local' has no setting 'process' .did you mean 'processes'"),
    ],
)
def test_a_wrong_executor_is_refused_before_anything_starts(executor: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(parse_config({**RAW, "executor": executor}))


def test_the_executor_of_the_configuration_carries_out_the_repeats() -> None:
    tasks: list[int] = []

    @plugins.executors.register("noted")
    class Noted:
        def map(self, function: Any, items: Any) -> Any:
            items = list(items)
            tasks.append(len(items))
            return map(function, items)

    plan = prepare(parse_config({**RAW, "executor": "noted"}))
    plan.main.nuisances.fit_transform(plan.train)
    plugins.executors._in_code.pop("noted")
    assert set(tasks) == {2}


@pytest.mark.slow
def test_a_run_in_two_processes_equals_that_of_one_and_reuses_its_stages(tmp_path: Path) -> None:
    one, two = parse_config(RAW), parse_config({**RAW, "executor": {"processes": 2}})
    run(prepare(one), tmp_path / "one")
    run(prepare(two), tmp_path / "two")
    for file in ("metrics.json", "pseudo_outcomes.parquet", "samples.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    run(prepare(two), tmp_path / "one", overwrite=True)
    stages = json.loads((tmp_path / "one" / "manifest.json").read_text())["stages"]
    assert [stage["name"] for stage in stages if stage["changed"]] == []
    # The others keep their results only until a run is finished.
    assert {stage["name"] for stage in stages if stage["reused"]} >= {"reference policy", "optimisation"}
