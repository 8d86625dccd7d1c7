"""What is installed from a wheel does what a checkout does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.commands import in_turn

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which causalopt is the content of its wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def test_from_a_table_to_a_report(environment: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    read = rng.integers(0, 6, 600)
    letters = np.array([f"{a} {b}" for a in ("Hello", "Dear friend") for b in ("give today", "join us", "write back")])
    frame = pd.DataFrame({"letter": letters[read], "rating": ((read > 2) + rng.normal(size=600)).round(2)})
    frame.assign(age=rng.integers(18, 90, 600), reader=np.arange(600)).to_csv(tmp_path / "letters.csv", index=False)
    *_, where = in_turn(
        environment,
        tmp_path,
        ["init", "letters.csv", "--yes"],
        ["check", "causalopt.yaml"],
        ["run", "causalopt.yaml", "--out", "run"],
        ["report", "run"],
    )
    assert "run/report.html" in where.replace("\n", "")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["value"]["difference"]["ci_low"] > 0
    code = "import causalopt; print(causalopt.__file__)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.startswith(environment["PYTHONPATH"])


def test_its_benchmarks_are_its_own(environment: dict[str, str], tmp_path: Path) -> None:
    code = "from causalopt.cli.checkout import load_benchmark as load; print(load('confounding').__code__.co_filename)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.startswith(environment["PYTHONPATH"]), found.stderr


def test_a_benchmark_takes_a_method_from_the_working_directory(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("print('mine was imported')")
    command = ["-m", "causalopt", "benchmark", "confounding", "--out", "tables", "--method", "mine:Method"]
    # The script that is installed does not begin with the working directory on its path, as python -m does.
    safe = {**environment, "PYTHONSAFEPATH": "1"}
    found = subprocess.run([sys.executable, *command], env=safe, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stdout.startswith("mine was imported")
    assert "module 'mine' has no attribute 'Method'" in found.stderr
    assert not (tmp_path / "tables").exists()
