"""A small run in every registered world, from its configuration to the exact truth beside the estimates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from causalopt import plugins
from causalopt.data.population import FIXED
from causalopt.run.config import parse_config
from causalopt.run.evaluate import evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare
from causalopt.simulation import ContaminatedWorld, World
from causalopt.simulation.grammar import sentences

pytestmark = pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")

OO_RLHF = {"oo_rlhf": {"objective": {"name": "oo_rlhf", "kl": 0.3}}}
NAIVE = {
    "naive": {
        "objective": {"name": "cpo", "kl": 0.3},
        "outcome_model": "zero",
        "assignment_model": "randomized",
    }
}


def config(data: dict[str, Any], comparisons: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": data,
        "outcome_model": "ridge",
        "objective": {"kl": 0.3},
        "backend": "finite",
        "evaluation": {"draws": 100, "estimators": ["dr", "dm"]},
        "comparisons": comparisons,
    }


def finished(directory: Path, raw: dict[str, Any]) -> dict[str, Any]:
    run(prepare(parse_config(raw)), directory)
    found: dict[str, Any] = json.loads((directory / "metrics.json").read_text())
    return found


def test_the_code_in_the_documentation_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.worlds, "_in_code", {})
    text = (ROOT / "docs" / "worlds.md").read_text(encoding="utf-8")
    any_text, two_samples, own = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(any_text, names)
    assert names["world"].true_value(names["policy"]).mass == pytest.approx(0.8)
    exec(two_samples, names)
    assert len(names["pseudo"]) == 2000
    exec(own, names)
    world = plugins.worlds.create({"name": "three-texts", "pull": 2.0})
    assert isinstance(world, World)
    assert world.true_dose_response(world.texts).tolist() == [2.5, 3.5, 4.25]


def test_every_world_is_registered() -> None:
    assert {"template", "finite", "contaminated", "semi-synthetic", "logged-traffic"} <= set(plugins.worlds.names())


def test_a_contaminated_outcome_model_leads_oo_rlhf_astray_and_not_dr_cpo(tmp_path: Path) -> None:
    raw = config({"world": "contaminated", "rows": 2000, "outcome_rows": 3000}, OO_RLHF)
    found = finished(tmp_path / "run", raw)
    assert found["truth"]["gain_share"] > 0.5
    assert found["comparisons"]["oo_rlhf"]["truth"]["gain_share"] < -0.3
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())
    train, test = ContaminatedWorld().sample_outcome_data(3000, 0).with_population(FIXED).split(test_size=0.3, seed=0)
    assert facts["fingerprint"]["outcome_train"] == train.fingerprint()
    assert facts["fingerprint"]["outcome_test"] == test.fingerprint()
    again = evaluate_run(tmp_path / "run")
    assert again["value"] == found["value"]


def test_a_second_table_is_the_outcome_models(tmp_path: Path) -> None:
    """The same rows from files give the same run as from the world."""
    world = ContaminatedWorld()
    world.sample_frame(1500, 0).to_csv(tmp_path / "rows.csv", index=False)
    other = world.sample_outcome_data(1500, 0)
    pd.DataFrame({"text": other.texts, "response": other.outcome}).to_csv(tmp_path / "other.csv", index=False)
    data = {"path": str(tmp_path / "rows.csv"), "outcome": "response"}
    second = {"outcome_data": {"path": str(tmp_path / "other.csv")}}
    plan = prepare(parse_config({**config(data, {}), **second}))
    same = prepare(parse_config(config({"world": "contaminated", "rows": 1500}, {})))
    assert plan.outcome_rows.train is not None
    assert same.outcome_rows.train is not None
    assert plan.outcome_rows.train.fingerprint() == same.outcome_rows.train.fingerprint()
    own = plan.main.nuisances.fit_transform(plan.train)
    pseudo = plan.main.nuisances.fit_transform(plan.train, outcome_data=plan.outcome_rows.train)
    truth = world.true_dose_response(plan.train.texts)
    assert np.corrcoef(own.g, truth)[0, 1] > 0.5
    assert np.corrcoef(pseudo.g, truth)[0, 1] < -0.5


def test_real_texts_with_simulated_readers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [sentences()[0][i] for i in rng.choice(1800, 300, replace=False)]
    pd.DataFrame({"body": texts}).to_csv(tmp_path / "letters.csv", index=False)
    world = {"name": "semi-synthetic", "path": str(tmp_path / "letters.csv"), "text": "body", "dimensions": 4}
    raw = config({"world": world, "rows": 2000}, NAIVE)
    found = finished(tmp_path / "run", {**raw, "assignment_model": "gaussian"})
    assert found["truth"]["gain_share"] > 0.5
    assert found["comparisons"]["naive"]["truth"]["gain_share"] < 0.2


def test_logged_traffic_with_prompts(tmp_path: Path) -> None:
    raw = config({"world": "logged-traffic", "rows": 2500}, NAIVE)
    raw["behavior_policy"] = "logged"
    raw["assignment_model"] = "gaussian"  # of the world's kind; comparing others would take most of the time
    found = finished(tmp_path / "run", raw)
    assert found["truth"]["gain_share"] > 0.5
    assert found["comparisons"]["naive"]["truth"]["gain_share"] < 0.3
    assert found["truth"]["mass_policy"] == pytest.approx(1)
    assert evaluate_run(tmp_path / "run")["truth"] == found["truth"]
    samples = pd.read_parquet(tmp_path / "run" / "samples.parquet")
    world = plugins.worlds.create("logged-traffic")
    truth = world.true_dose_response(samples["text"].tolist(), samples["prompt"].tolist())
    np.testing.assert_allclose(samples["truth"], truth)


def test_a_language_model_answers_the_prompts(tmp_path: Path) -> None:
    raw = config({"world": "logged-traffic", "rows": 300}, {})
    raw["backend"] = {
        "name": "huggingface",
        "model": "scratch:tiny",
        "reference": {"training": {"num_train_epochs": 1}},
        "training": {"num_train_epochs": 1},
    }
    raw["samples"] = {"per_row": 1}
    raw["evaluation"] = {"draws": 40, "estimators": ["sndr", "dm"]}
    found = finished(tmp_path / "run", raw)
    assert found["truth"]["best"] >= found["truth"]["policy"]
    assert 0 < found["truth"]["mass_policy"] < 1
    samples = pd.read_parquet(tmp_path / "run" / "samples.parquet")
    outside = ~samples["text"].isin(plugins.worlds.create("logged-traffic").texts)
    assert (samples["truth"].isna() == outside).all()
