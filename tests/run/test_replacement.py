"""A run in the place of another: what is not the run's own is kept, and a process killed anywhere loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from causalopt.cli.main import main
from causalopt.errors import ConfigError, DataError
from causalopt.run.directory import RunDirectory, is_finished
from causalopt.run.replacement import Replacement

# Under each argument a process of its own replaces the run; the k-th is killed at its k-th change of a name or removal
# of a file after all is written. Prints how many were killed.
KILLED = """
import os, signal, sys
from pathlib import Path
from causalopt.run.directory import RunDirectory

def replace(run, left):
    files = RunDirectory(run)
    with files.open("seed: 0", resume=False, overwrite=True, facts={"fingerprint": {"train": "a"}}):
        files.write_text("report.html", "new")
        (files.path / "policy").mkdir()
        (files.path / "policy" / "adapter.bin").write_text("new")
        def counted(function):
            def call(self, *args, **kwargs):
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(self, *args, **kwargs)
            return call
        for name in ("rename", "unlink", "rmdir"):
            setattr(Path, name, counted(getattr(Path, name)))

killed = 0
for k, run in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        replace(Path(run), k)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    killed += status != 0
print(killed)
"""


def make(path, label, *, overwrite=False, resume=False, data="a", config="seed: 0"):
    files = RunDirectory(path)
    facts = {"fingerprint": {"train": data}}
    with files.open(config, resume=resume, overwrite=overwrite, facts=facts) as finished:
        if not finished:
            files.write_text("report.html", label)
            (files.path / "policy").mkdir(exist_ok=True)
            (files.path / "policy" / "adapter.bin").write_text(label)


def die(files, *, overwrite):
    def stop(path):
        path.write_text("half")
        raise ZeroDivisionError

    facts = {"fingerprint": {"train": "a"}}
    with pytest.raises(ZeroDivisionError), files.open("seed: 0", resume=False, overwrite=overwrite, facts=facts):
        stop(files.work / "half")


def state(path):
    return (path / "report.html").read_text(), (path / "policy" / "adapter.bin").read_text()


@pytest.fixture
def old(tmp_path):
    make(tmp_path / "run", "old")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "policy" / "notes.txt").write_text("mine too")
    (tmp_path / "run" / "thesis").mkdir()
    (tmp_path / "run" / "thesis" / "one.txt").write_text("chapter")
    return tmp_path / "run"


def check_user_files(run):
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "policy" / "notes.txt").read_text() == "mine too"
    assert (run / "thesis" / "one.txt").read_text() == "chapter"


def test_the_new_run_is_swapped_in_and_the_user_s_files_stay(old):
    make(old, "new", overwrite=True)
    assert state(old) == ("new", "new")
    check_user_files(old)
    assert [path.name for path in old.parent.iterdir()] == ["run"]


def test_a_run_that_fails_leaves_the_old_one_and_can_go_on(old):
    files = RunDirectory(old)
    die(files, overwrite=True)
    assert state(old) == ("old", "old")
    check_user_files(old)
    again = RunDirectory(old)
    with again.open("seed: 0", resume=True, overwrite=False, facts={"fingerprint": {"train": "a"}}):
        assert (again.work / "half").read_text() == "half"
        again.write_text("report.html", "new")
    assert (old / "report.html").read_text() == "new"
    assert [path.name for path in old.parent.iterdir()] == ["run"]


def test_killed_anywhere_in_the_swap_the_next_start_ends_it(old):
    runs = [old.parent / str(k) / "run" for k in range(25)]
    for run in runs:
        shutil.copytree(old, run)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, runs)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert 10 <= int(done.stdout) < 25
    for run in runs:
        Replacement(run).recover()
        assert state(run) in [("old", "old"), ("new", "new")]
        check_user_files(run)
        make(run, "again", resume=True)  # the new run was whole when it died: nothing is computed again
        assert is_finished(run)
        assert state(run) == ("new", "new")
        check_user_files(run)
        assert not [path.name for path in run.parent.iterdir() if path.suffix != ".lock" and path.name != "run"]


def test_a_folder_that_is_no_run_or_holds_an_input_is_not_touched(old, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text("seed: 0")
    (home / "manifest.json").write_text('{"name": "of another program"}')
    with pytest.raises(ConfigError, match="is not a run"):
        make(home, "new", overwrite=True)
    assert len(list(home.iterdir())) == 2
    table = old / "thesis" / "one.txt"
    with (
        pytest.raises(ConfigError, match=r"contains data\.path"),
        RunDirectory(old).open("seed: 0", resume=False, overwrite=True, facts={}, inputs={"data.path": table}),
    ):
        pass
    monkeypatch.chdir(old / "thesis")
    with pytest.raises(ConfigError, match="contains the working directory"):
        make(old, "new", overwrite=True)
    assert state(old) == ("old", "old")


def test_resume_refuses_other_data_and_leaves_a_finished_run(tmp_path):
    run = tmp_path / "run"
    die(RunDirectory(run), overwrite=False)
    make(run, "first", resume=True)
    with pytest.raises(DataError, match=r"have changed since .* \(train rows\)"):
        make(run, "new", resume=True, data="b")
    make(run, "second", resume=True)
    assert state(run) == ("first", "first")


@pytest.mark.parametrize("left", [[], [".work/"], [".work/", ".manifest.json.partial"]])
def test_a_start_that_died_needs_no_flag(tmp_path, left):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).mkdir() if name.endswith("/") else (tmp_path / "run" / name).touch()
    make(tmp_path / "run", "new")
    assert state(tmp_path / "run") == ("new", "new")


def test_steps_after_the_checkpoint_are_cut(tmp_path):
    def log(steps, policy="policy"):
        files = RunDirectory(tmp_path)
        for i, step in enumerate(steps):
            files.log_step(policy, {"step": step}, first=i == 0)

    log([1, 2], "reference")
    log([1, 2, 3, 4, 5])
    with (tmp_path / "training.jsonl").open("a") as stream:
        stream.write('{"policy": "pol')
    log([4, 5, 6])
    logged = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert [one["step"] for one in logged if one["policy"] == "policy"] == [1, 2, 3, 4, 5, 6]
    assert [one["step"] for one in logged if one["policy"] == "reference"] == [1, 2]


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["causalopt", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "120")
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.filterwarnings("ignore::causalopt.errors.CausalOptWarning")
def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a in ("help", "give", "act") for b in ("now", "soon", "please")]
    frame = pd.DataFrame({"text": rng.choice(texts, 150), "policy": rng.choice(texts, 150)})
    frame["outcome"] = frame["text"].str.contains("please") + rng.normal(size=150)
    frame.to_csv("t.csv", index=False)
    settings = {"data": {"path": "t.csv"}, "outcome_model": "ridge", "backend": "finite", "evaluation": {"draws": 40}}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
    table = (tmp_path / "t.csv").read_bytes()

    def refused(*arguments):
        code, _, err = call(monkeypatch, capsys, *arguments)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert (tmp_path / "t.csv").read_bytes() == table
        return err

    os.link("t.csv", "same.csv")
    (tmp_path / "notes.json").write_text("{}")
    for out, message in (("t.csv", "is an input"), ("same.csv", "is an input"), ("notes.json", "already exists")):
        assert message in refused("estimate", "t.csv", "--policy-text", "policy", "--out", out)
    assert (tmp_path / "notes.json").read_text() == "{}"
    assert "is not a run" in refused("run", "t.yaml", "--out", ".", "--overwrite")

    assert call(monkeypatch, capsys, "run", "t.yaml", "--out", "run")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, out, _ = call(monkeypatch, capsys, "run", "t.yaml", "--out", "run", "--resume")
    assert code == 0
    assert out == "run: this run is finished; there is nothing to do\n"
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert "already exists" in refused("evaluate", "run", "--out", "run/metrics.json")
    assert call(monkeypatch, capsys, "run", "t.yaml", "--out", "run", "--overwrite")[0] == 0
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before[tmp_path / "run" / "metrics.json"]
    frame.assign(outcome=frame["outcome"] + 1).to_csv("t.csv", index=False)
    table = (tmp_path / "t.csv").read_bytes()
    assert "t.csv: the data have changed" in refused("run", "t.yaml", "--out", "run", "--resume")
