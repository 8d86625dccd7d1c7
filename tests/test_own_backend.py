"""A backend of somebody else, named in a configuration: it runs, is evaluated, generates and is loaded again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalopt import plugins
from causalopt.backends import load_policy
from causalopt.backends.contracts import Backend, Policy, PolicyProblem, Progress, Selection
from causalopt.backends.saved import name_backend
from causalopt.cli.main import app
from causalopt.data.population import FIXED
from causalopt.errors import ConfigError, ModelError
from causalopt.objectives.contract import Objective
from causalopt.run.config import parse_config
from causalopt.run.evaluate import evaluate_run
from causalopt.run.pipeline import run
from causalopt.run.plan import prepare
from causalopt.typing import Float64

TEXTS = [f"{verb} {when}" for verb in ("help", "give", "act") for when in ("now", "soon", "please", "today")]


class TablePolicy:
    """Known texts and their probabilities."""

    def __init__(self, texts: Sequence[str], probability: Float64) -> None:
        self.texts, self.probability = list(texts), probability

    def log_prob(self, prompts: Sequence[str] | None, texts: Sequence[str]) -> Float64:
        known = dict(zip(self.texts, np.log(self.probability), strict=True))
        return np.array([known[text] for text in texts])

    def sample(self, prompts: Sequence[str] | None, n: int, seed: int) -> list[str]:
        return [self.texts[i] for i in np.random.default_rng(seed).choice(len(self.texts), n, p=self.probability)]

    def save(self, directory: str | Path) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        table = dict(zip(self.texts, self.probability.tolist(), strict=True))
        (Path(directory) / "table.json").write_text(json.dumps(table), encoding="utf-8")
        name_backend(directory, "table")

    @classmethod
    def load(cls, directory: str | Path) -> TablePolicy:
        table = json.loads((Path(directory) / "table.json").read_text(encoding="utf-8"))
        return cls(list(table), np.array(list(table.values())))


class TableBackend:
    """Tilts the frequency of each logged text by its mean pseudo-outcome, as much as ``tilt`` says."""

    population = FIXED

    def __init__(self, tilt: float = 1.0) -> None:
        self.tilt = tilt

    def check(self, objectives: Sequence[Objective] = (), per_row: int = 1) -> None:
        if self.tilt < 0:
            raise ConfigError("backend.tilt must not be negative")

    def reference(
        self, prompts: Sequence[str] | None, texts: Sequence[str], weight: Float64, *, seed: int, progress: Progress
    ) -> Policy:
        count = pd.Series(weight).groupby(list(texts)).sum()
        return TablePolicy(count.index.tolist(), (count / count.sum()).to_numpy())

    def fit(
        self,
        problem: PolicyProblem,
        objective: Objective,
        *,
        reference: Policy,
        seed: int,
        progress: Progress,
        selection: Selection | None = None,
    ) -> Policy:
        assert isinstance(reference, TablePolicy)
        mean = pd.Series(problem.residual + problem.g).groupby(list(problem.texts)).mean()
        tilted = reference.probability * np.exp(self.tilt * mean.reindex(reference.texts).fillna(0.0).to_numpy())
        return TablePolicy(reference.texts, tilted / tilted.sum())

    @staticmethod
    def load_policy(source: str | Path, cache: Path | None) -> Policy:
        return TablePolicy.load(source)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setitem(plugins.backends._in_code, "table", TableBackend)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"text": rng.choice(TEXTS, 600), "age": rng.normal(40, 10, 600)})
    frame["resp"] = frame["text"].str.contains("please") + 0.02 * frame["age"] + 0.3 * rng.normal(size=600)
    frame.to_csv(tmp_path / "survey.csv", index=False)
    data = {"path": str(tmp_path / "survey.csv"), "outcome": "resp", "covariates": ["age"]}
    return {"data": data, "outcome_model": "ridge", "objective": "cpo", "backend": {"name": "table", "tilt": 0.7}}


def test_it_keeps_the_contract() -> None:
    assert isinstance(TableBackend(), Backend)
    assert isinstance(TablePolicy(["a"], np.ones(1)), Policy)


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_it_runs_is_evaluated_generates_and_is_loaded_again(config: dict[str, object], tmp_path: Path) -> None:
    metrics = run(prepare(parse_config(config)), tmp_path / "run")
    assert metrics["value"]["difference"]["estimate"] > 0
    again = evaluate_run(tmp_path / "run")
    assert again["value"]["difference"]["estimate"] == pytest.approx(metrics["value"]["difference"]["estimate"])
    loaded = load_policy(tmp_path / "run" / "policy")
    assert isinstance(loaded, TablePolicy)
    please = ["please" in text for text in loaded.texts]
    reference = load_policy(tmp_path / "run" / "reference")
    assert isinstance(reference, TablePolicy)
    assert loaded.probability[please].sum() > reference.probability[please].sum() + 0.1
    shown = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), "--n", "3"])
    assert [json.loads(line)["text"] in TEXTS for line in shown.stdout.splitlines()] == [True] * 3


def test_a_policy_of_a_backend_that_is_not_installed_says_so(config: dict[str, object], tmp_path: Path) -> None:
    TablePolicy(["a", "b"], np.array([0.5, 0.5])).save(tmp_path / "policy")
    name_backend(tmp_path / "policy", "tabel")
    with pytest.raises(ConfigError, match=r"no backend is called 'tabel' \(did you mean 'table'\?\)"):
        load_policy(tmp_path / "policy")
    (tmp_path / "policy" / "causalopt_backend.json").write_text("{")
    with pytest.raises(ModelError, match="does not name a backend"):
        load_policy(tmp_path / "policy")
