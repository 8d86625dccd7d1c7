"""The executor on Ray, really installed: its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PLUGIN = ROOT / "plugins" / "causalopt-ray"


@pytest.mark.slow
def test_its_own_tests_pass(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), str(PLUGIN)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    # In front of what is there already: ray may lie in a folder of its own.
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
