"""The run directory: whole files, one writer, no run lost by accident, and a manifest of what stages cost."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from causalopt.errors import ConfigError
from causalopt.run.directory import RunDirectory


def opened(path, config="seed: 0\n", *, resume=False, overwrite=False):
    return RunDirectory(path).open(config, resume=resume, overwrite=overwrite, facts={"seed": 0})


def test_a_finished_run_is_not_written_over_by_accident(tmp_path):
    with opened(tmp_path / "run"):
        pass
    with pytest.raises(ConfigError, match="already contains a run; give --resume"), opened(tmp_path / "run"):
        pass


def test_overwrite_begins_again_but_only_on_a_run(tmp_path):
    with opened(tmp_path / "run"):
        (tmp_path / "run" / "old.txt").touch()
    with opened(tmp_path / "run", overwrite=True):
        pass
    assert (tmp_path / "run" / "old.txt").exists(), "not the run's own file"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not a run"), opened(tmp_path / "home", overwrite=True):
        pass
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_resume_needs_the_same_configuration(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "run"):
        raise KeyboardInterrupt
    with opened(tmp_path / "run", resume=True):
        pass
    with pytest.raises(ConfigError, match="another configuration"), opened(tmp_path / "run", "seed: 1\n", resume=True):
        pass


def test_a_directory_that_another_process_writes_to_is_refused(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from causalopt.run.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).open('a', resume=False, overwrite=False, facts={}):\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ConfigError, match="another run is writing"), opened(tmp_path / "run", resume=True):
            pass
    finally:
        other.kill()
        other.wait()
    with opened(tmp_path / "run", "a", resume=True):  # the dead process left nothing that blocks
        pass


def test_stages_and_facts_are_in_the_manifest(tmp_path):
    files = RunDirectory(tmp_path / "run")
    with files.open("seed: 0\n", resume=False, overwrite=False, facts={"seed": 7}), files.stage("allocating"):
        block = np.ones(30_000_000)
        files.write_frame("block.parquet", pd.DataFrame({"x": block[:3]}))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["seed"] == 7
    assert manifest["stages"][0]["name"] == "allocating"
    assert manifest["stages"][0]["peak_memory_mb"] > 240
    assert manifest["versions"]["causalopt"]


def test_a_value_that_is_not_finite_leaves_no_file(tmp_path):
    files = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json("metrics.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_a_process_that_was_killed_are_those_of_the_run(tmp_path):
    """What was warned of before the last file that the first process wrote is not lost; nor is it said twice."""

    def interrupted() -> None:
        files, issued = RunDirectory(tmp_path / "run"), []
        with files.open("", resume=False, overwrite=False, facts={}):
            files.collect(lambda: issued)
            issued += ["thin", "no end"]
            files.write_json("work/samples.json", [])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    files = RunDirectory(tmp_path / "run")
    with files.open("", resume=True, overwrite=False, facts={}):
        files.collect(lambda: ["no end", "drift"])
        assert files.warnings() == ["drift", "no end", "thin"]
    assert not files.work.exists()
    assert "work/samples.json" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["files"]
