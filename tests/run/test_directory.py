"""The run directory: whole files, one writer, no run lost by accident, and a manifest of what stages cost."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from causalopt.durable import check_artefact
from causalopt.errors import CausalOptWarning, ConfigError, DataError
from causalopt.run.directory import RunDirectory, is_finished
from causalopt.run.kept import keep, kept
from causalopt.run.stages import Stage


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


def test_a_finished_run_is_not_resumed_with_another_configuration(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "run"):
        raise KeyboardInterrupt
    with opened(tmp_path / "run", "seed: 1\n", resume=True):  # nothing is lost: what has changed is computed again
        pass
    with pytest.raises(ConfigError, match="another configuration"), opened(tmp_path / "run", "seed: 2\n", resume=True):
        pass


def carried_out(path, inputs, *, killed_in=None, resume=True, overwrite=False):
    """Run three stages, each of which reads the one before; return the names of those that were computed."""
    files, computed = RunDirectory(path), []
    with files.open("", resume=resume, overwrite=overwrite, facts={}):
        value = 0
        for name, given in inputs.items():

            def compute(name=name, value=value, given=given):
                (files.path / name).mkdir()
                (files.path / name / "half").write_text("made")
                if name == killed_in:
                    raise KeyboardInterrupt
                keep(value + given, files.path / name / "value.kept")
                (files.path / name / "half").unlink()
                computed.append(name)
                return value + given

            def load(name=name):
                return kept(files.path / name / "value.kept")

            value = files.do(Stage(name, {"given": given, "before": value}, compute, (name,), load))
    return value, computed


STAGES = {"reference": 1, "end": 20, "policy": 300}


def test_what_is_done_is_reused_and_what_has_changed_is_computed_again(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        carried_out(run, STAGES, killed_in="policy", resume=False)
    assert (run / "policy" / "half").exists()
    assert carried_out(run, STAGES) == (321, ["policy"])
    # An input in the middle: its stage and all behind it, with the name of what has changed.
    assert carried_out(run, STAGES | {"end": 40}, resume=False, overwrite=True) == (341, ["end", "policy"])
    stages = json.loads((run / "manifest.json").read_text())["stages"]
    assert [one["reused"] for one in stages] == [True, False, False]
    assert [one["changed"] for one in stages] == [[], ["given"], ["before"]]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    # A killed replacement is taken up, and the run that it is to replace still serves.
    with pytest.raises(KeyboardInterrupt):
        carried_out(run, STAGES | {"policy": 500}, killed_in="policy", resume=False, overwrite=True)
    assert carried_out(run, STAGES | {"policy": 500}, resume=False, overwrite=True) == (521, ["policy"])


def test_stages_of_a_killed_process_survive_the_next_kill(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path / "run", STAGES, killed_in="policy", resume=False)
    files = RunDirectory(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), files.open("", resume=True, overwrite=False, facts={}):
        raise KeyboardInterrupt  # before it has come to any stage
    assert carried_out(tmp_path / "run", STAGES) == (321, ["policy"])


def test_damaged_results_count_as_missing(tmp_path):
    run = tmp_path / "run"
    for damage in ("flip", "truncate", "remove"):
        with pytest.raises(KeyboardInterrupt):
            carried_out(run, STAGES, killed_in="policy", resume=False)
        file = run / "end" / "value.kept"
        content = bytearray(file.read_bytes())
        content[10] ^= 1
        file.write_bytes(content if damage == "flip" else content[:5])
        if damage == "remove":
            file.unlink()
        assert carried_out(run, STAGES) == (321, ["end", "policy"])
        shutil.rmtree(run)


def test_files_of_a_stage_that_is_no_longer_part_of_the_run_are_removed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path / "run", {"comparisons": 1, **STAGES}, killed_in="policy", resume=False)
    carried_out(tmp_path / "run", STAGES)
    assert not (tmp_path / "run" / "comparisons").exists()


def test_the_log_of_reused_fits_stays(tmp_path):
    """Only the steps of comparisons that are no longer part of the run go."""

    def run(comparisons, *, overwrite):
        files = RunDirectory(tmp_path / "run")
        facts = {"comparisons": comparisons}
        with files.open("", resume=False, overwrite=overwrite, facts=facts):
            if not overwrite:
                for policy in ("reference", "policy", "naive", "other"):
                    files.log_step(policy, {"step": 1}, first=True)
            else:
                files.log_step("policy", {"step": 1, "loss": 2.0}, first=True)
        return [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]

    assert [one["policy"] for one in run({"naive": "", "other": ""}, overwrite=False)][-2:] == ["naive", "other"]
    again = run({"naive": ""}, overwrite=True)
    assert [one["policy"] for one in again] == ["reference", "naive", "policy"]
    assert again[-1]["loss"] == 2.0


def test_a_folder_of_the_user_s_called_work_stays(tmp_path):
    with opened(tmp_path / "run"):
        pass
    (tmp_path / "run" / "work").mkdir()
    (tmp_path / "run" / "work" / "thesis.txt").write_text("mine")
    for flag in ("resume", "overwrite"):
        with opened(tmp_path / "run", **{flag: True}):
            pass
        assert (tmp_path / "run" / "work" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.json", "comparisons"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path / "run", STAGES, killed_in="policy", resume=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "run" / name).symlink_to(outside)
    with pytest.raises(ConfigError, match=f"{name}: is a link"):
        carried_out(tmp_path / "run", STAGES)
    (tmp_path / "run" / name).unlink()
    carried_out(tmp_path / "run", STAGES)
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path / "run", STAGES | {"end": 7}, killed_in="policy", resume=False, overwrite=True)
    (tmp_path / ".run.causalopt-new" / "run" / name).symlink_to(outside)
    with pytest.raises(ConfigError, match=f"{name}: is a link"):
        carried_out(tmp_path / "run", STAGES | {"end": 7}, resume=False, overwrite=True)
    assert list(outside.iterdir()) == []


def test_a_replacement_that_was_killed_does_not_take_over_a_later_run(tmp_path):
    run = tmp_path / "run"
    carried_out(run, STAGES, resume=False)
    with pytest.raises(KeyboardInterrupt):
        carried_out(run, STAGES | {"end": 7}, killed_in="policy", resume=False, overwrite=True)
    shutil.rmtree(run)
    carried_out(run, STAGES, resume=False)
    assert is_finished(run)
    with pytest.raises(KeyboardInterrupt), opened(run, "seed: 9\n", overwrite=True):
        raise KeyboardInterrupt
    with RunDirectory(run).open("", resume=True, overwrite=False, facts={}) as finished:
        assert finished, "it is the same run: there is nothing to do"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_comments_are_no_other_configuration(tmp_path):
    with opened(tmp_path / "run", "seed: 1\nname: a\n"):
        pass
    (tmp_path / "run" / "config.yaml").write_text("# mine\nname: a\nseed: 1\n")
    with opened(tmp_path / "run", "seed: 1\nname: a\n", resume=True) as finished:
        assert finished


def test_an_object_that_cannot_be_read_back_is_computed_again(tmp_path):
    keep(_Unreadable(), tmp_path / "other.kept")
    assert kept(tmp_path / "other.kept") is None


class _Unreadable:
    def __reduce__(self):
        return (int, ("not a number",))


def test_a_manifest_that_lost_its_content_is_no_dead_end(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        carried_out(run, STAGES, killed_in="policy", resume=False)
    (run / "manifest.json").write_text("")
    with pytest.raises(ConfigError, match=r"manifest\.json is damaged: --resume"):
        carried_out(run, STAGES, resume=False)
    assert carried_out(run, STAGES) == (321, list(STAGES))
    (run / "manifest.json").write_text("")
    (run / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not a run"):
        carried_out(run, STAGES)


def test_every_artefact_is_in_the_manifest_and_a_flipped_byte_is_seen(tmp_path):
    files = RunDirectory(tmp_path / "run")
    with files.open("", resume=False, overwrite=False, facts={}):
        files.write_frame("samples.parquet", pd.DataFrame({"x": [1.0]}))
    written = json.loads((tmp_path / "run" / "manifest.json").read_text())["files"]
    assert set(written) == {"config.yaml", "samples.parquet"}
    table = tmp_path / "run" / "samples.parquet"
    assert written["samples.parquet"] == hashlib.sha256(table.read_bytes()).hexdigest()
    check_artefact(table)
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"samples\.parquet: is not the file that was written here"):
        check_artefact(table)


def test_an_object_that_another_user_signed_is_not_loaded(tmp_path, monkeypatch):
    """To load a pickle is to run it: a run directory from elsewhere must not."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    keep(_Harmful(tmp_path / "harmed"), tmp_path / "value.kept")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "mine"))
    assert kept(tmp_path / "value.kept") is None
    assert not (tmp_path / "harmed").exists()
    keep(1, tmp_path / "value.kept")
    assert kept(tmp_path / "value.kept") == 1
    key = tmp_path / "mine" / "causalopt" / "kept.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    key.mkdir()  # no key can be kept: the objects of this process are its own
    keep(2, tmp_path / "value.kept")
    assert kept(tmp_path / "value.kept") == 2


def test_what_cannot_be_pickled_is_not_kept_and_fails_nothing(tmp_path):
    keep(1, tmp_path / "value.kept")
    keep(lambda: 1, tmp_path / "value.kept")
    assert list(tmp_path.iterdir()) == []
    assert kept(tmp_path / "value.kept") is None


class _Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


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


def test_two_processes_never_both_write(tmp_path):
    """Three processes open the directory again and again; none is let in while another is inside."""
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from causalopt.errors import ConfigError; from causalopt.run.directory import RunDirectory\n"
        "run, mark, held = Path(sys.argv[1]), Path(sys.argv[2]), 0\n"
        "until = time.monotonic() + 4\n"
        "while time.monotonic() < until:\n"
        "    try:\n"
        "        with RunDirectory(run).open('', resume=False, overwrite=True, facts={}):\n"
        "            descriptor = os.open(mark, os.O_CREAT | os.O_EXCL)\n"  # fails if another process is inside
        "            os.close(descriptor); mark.unlink(); held += 1\n"
        "    except ConfigError as error:\n"
        "        assert 'another run is writing' in str(error), error\n"
        "print(held)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run"), str(tmp_path / "mark")]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [other.communicate(timeout=120) for other in others]
    assert all(other.returncode == 0 for other in others), [error[-500:] for _, error in ended]
    assert sum(int(out) for out, _ in ended) > 20


def test_stages_and_facts_are_in_the_manifest(tmp_path):
    files = RunDirectory(tmp_path / "run")

    def allocate() -> None:
        block = np.ones(30_000_000)
        files.write_frame("block.parquet", pd.DataFrame({"x": block[:3]}))

    with files.open("seed: 0\n", resume=False, overwrite=False, facts={"seed": 7}):
        files.do(Stage("allocating", {}, allocate, ("block.parquet",), lambda: None))
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
    """What a stage warned of before the last file that the first process wrote is not lost; nor is it said twice."""

    def run(messages: list[str], *, setting: int = 0, resume: bool = True, killed: bool = False) -> list[str]:
        files = RunDirectory(tmp_path / "run")

        def compute() -> str:
            for message in messages:
                warnings.warn(message, CausalOptWarning, stacklevel=1)
            files.write_json(".work/half.json", [])
            if killed:
                raise KeyboardInterrupt
            return "done"

        with files.open("", resume=resume, overwrite=False, facts={}):
            files.do(Stage("first", {}, lambda: warnings.warn("early", CausalOptWarning, stacklevel=1), (), lambda: 1))
            files.do(Stage("second", {"setting": setting}, compute, (), lambda: None))
        return files.warnings()

    with (
        pytest.warns(CausalOptWarning, match="thin"),
        pytest.warns(CausalOptWarning, match="no end"),
        pytest.raises(KeyboardInterrupt),
    ):
        run(["thin", "no end"], resume=False, killed=True)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert run(["no end", "drift"]) == ["drift", "early", "no end", "thin"]
    assert not (tmp_path / "run" / ".work").exists()
    assert ".work/half.json" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["files"]
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "copy").rename(tmp_path / "run")
    assert run(["drift"], setting=1) == ["drift", "early"]  # those of a stage with other inputs are not its own
