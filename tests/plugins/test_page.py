"""The page on plugins, as a reader follows it: its code is installed as a package, checked, and run by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import in_turn
from places import ROOT

PAGE = ROOT / "docs" / "plugins.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def lines(code: str) -> int:
    """Lines of code, without blank ones and comments."""
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in code.splitlines())


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    source, target = tmp_path_factory.mktemp("my-parts"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(blocks("toml")[0], encoding="utf-8")
    (source / "my_parts.py").write_text("\n\n".join(blocks("python")), encoding="utf-8")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}


def test_a_backend_takes_less_than_sixty_lines() -> None:
    backend = next(block for block in blocks("python") if "class TableBackend" in block)
    assert lines(backend) < 60


@pytest.mark.slow
def test_its_checks_pass(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import my_parts; my_parts.test_my_parts()"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_its_configuration_runs_and_its_policy_is_evaluated_compared_and_generates(
    environment: dict[str, str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    texts = [f"{verb} {when}" for verb in ("help", "give", "act") for when in ("now", "soon", "please", "today")]
    frame = pd.DataFrame({"text": rng.choice(texts, 600), "age": rng.normal(size=600)})
    frame["resp"] = 2.0 * frame["text"].str.contains("please") + frame["age"] + 0.3 * rng.normal(size=600)
    frame.to_csv(tmp_path / "survey.csv", index=False)
    (tmp_path / "mine.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    checked, _, _ = in_turn(
        environment,
        tmp_path,
        ("check", "mine.yaml"),
        ("run", "mine.yaml", "--out", "mild"),
        ("run", "mine.yaml", "--out", "bold", "--set", "backend.tilt=1.0"),
    )
    assert "ready to run" in checked
    found = json.loads((tmp_path / "mild" / "metrics.json").read_text())
    assert found["nuisance"]["test"]["outcome_model"] == "linear"
    assert found["value"]["difference"]["estimate"] > 0
    # A process that knows nothing of the runs but their files.
    _, compared, drawn, _ = in_turn(
        environment,
        tmp_path,
        ("evaluate", "mild", "--out", "again.json"),
        ("compare", "mild", "bold"),
        ("generate", "mild", "--n", "3"),
        (
            "compare",
            "mild",
            "bold",
            "--judge",
            "shorter",
            "--set",
            "judge.characters=3",
            "--draws",
            "9",
            "--out",
            "short",
        ),
    )
    judged = json.loads((tmp_path / "short" / "judgement.json").read_text())
    assert judged["judge"] == {"name": "shorter", "characters": 3}
    assert judged["questions"]["outcome"]["decided"] == 9
    assert json.loads((tmp_path / "again.json").read_text())["value"] == found["value"]
    assert "difference" in compared
    assert [json.loads(line)["text"] in texts for line in drawn.splitlines()] == [True] * 3
