"""The example plugin, really installed beside the package and found by the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

PLUGIN = ROOT / "plugins" / "causalopt-huber"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(PLUGIN)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}


@pytest.mark.slow
def test_the_command_line_lists_it_with_its_package(environment):
    command = [sys.executable, "-m", "causalopt", "plugins"]
    listing = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    line = next(line for line in listing.splitlines() if "huber" in line)
    assert "outcome_models" in line
    assert "causalopt-huber" in line


@pytest.mark.slow
def test_it_fits_through_an_outlier(environment):
    script = """
import numpy as np
from causalopt.plugins import outcome_models
rng = np.random.default_rng(0)
x, w = rng.normal(size=(500, 3)), rng.normal(size=(500, 1))
truth = x @ [1.0, -1.0, 0.5]
y = truth + 2.0 * w[:, 0] + rng.normal(size=500)
y[:10] += 1000.0
g = outcome_models.create("huber").fit(x, w, y, np.ones(500)).marginal(x, w, np.ones(500))
assert np.corrcoef(g, truth)[0, 1] > 0.99
"""
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
