"""What a stage depends on is in its key: settings, data, plugins and files, and nothing else."""

from __future__ import annotations

import importlib
import sys

import pytest

from causalopt import plugins
from causalopt.run.config import parse_config
from causalopt.run.keys import Keys, input_paths, paths_in
from causalopt.run.plan import prepare
from causalopt.run.stages import digest_of, source_of

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
BASE = {
    "data": {"world": {"name": "template"}, "rows": 300},
    "outcome_model": "ridge",
    "assignment_model": "gaussian",
    "backend": "finite",
}


def keys(**changed):
    plan = prepare(parse_config({**BASE, **changed}))
    found = Keys(plan, {name: data.fingerprint() for name, data in plan.data_sets().items()})
    stages = {
        "train": found.nuisances("", "train"),
        "test": found.nuisances("", "test"),
        "reference": found.reference(),
        "texts": found.texts(),
        "optimisation": found.optimisation(""),
        "how far": found.how_far(),
        "evaluation": found.evaluation(""),
    }
    return {name: digest_of(inputs) for name, inputs in stages.items()}


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"evaluation": {"level": 0.9}}, {"evaluation"}),
        ({"evaluation": {"estimators": ["sndr"]}}, {"how far", "evaluation"}),
        ({"choose": {"level": 0.8}}, {"how far", "evaluation"}),
        ({"objective": {"kl": 0.2}}, {"optimisation", "how far", "evaluation"}),
        ({"target_kl": 0.3}, {"optimisation", "how far", "evaluation"}),
        ({"samples": {"per_row": 3}}, {"texts", "optimisation", "how far", "evaluation"}),
        ({"pilot": {"train_rows": 100}}, {"train", "test", "texts", "optimisation", "how far", "evaluation"}),
        ({"cross_fitting": {"folds": 4}}, {"train", "test", "optimisation", "how far", "evaluation"}),
        ({"executor": {"name": "local", "processes": 2}}, set()),
        ({"estimate": {"policy": "logged"}}, set()),
        ({"seed": 1}, {"train", "test", "reference", "texts", "optimisation", "how far", "evaluation"}),
    ],
)
def test_a_setting_changes_what_depends_on_it(changed, again):
    before, now = keys(), keys(**changed)
    assert {name for name in before if before[name] != now[name]} == again


def test_a_plugin_that_was_edited_is_another_part(tmp_path, monkeypatch):
    """Also in a module beside the one that registers it, and where another part names it."""
    package = tmp_path / "edited_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "beside.py").write_text("PENALTY = 1.0")
    (package / "model.py").write_text(
        "from causalopt.nuisance.outcome.ridge import RidgeOutcome\nclass Model(RidgeOutcome):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("edited_plugin.model").Model
    monkeypatch.setitem(plugins.outcome_models._in_code, "edited", model)
    nested = {"outcome_model": {"name": "best-of", "candidates": ["ridge", "edited"]}}
    before, alone = keys(**nested), keys(outcome_model="edited")
    (package / "beside.py").write_text("PENALTY = 2.0")
    assert keys(**nested)["train"] != before["train"]
    assert keys(outcome_model="edited")["train"] != alone["train"]
    sys.modules.pop("edited_plugin", None)


def test_a_part_without_a_source_is_of_this_process_alone():
    namespace = {"__name__": "__main__"}
    exec("class Cell:\n    pass", namespace)
    assert source_of(namespace["Cell"]) == source_of(namespace["Cell"]) != source_of(keys)


def test_files_are_found_in_lists_and_a_part_s_name_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ridge").mkdir()
    (tmp_path / "weights").touch()
    assert list(paths_in({"name": "ridge", "candidates": ["x", {"name": "ridge", "file": "weights"}]})) == [
        "candidates.1.file"
    ]
    assert "estimate.policy" not in input_paths(parse_config({**BASE, "estimate": {"policy": "weights"}}))
