"""The benchmark of faults sees what is lost, and whole writes lose nothing at any of their steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.faults.__main__ import bars, table
from benchmarks.faults.child import attempt, count_events, die_at, fail_at, lose_power
from causalopt.durable import write_text
from causalopt.errors import OutputError


def in_child(prepare: Callable[[], None], work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            prepare()
            work()
        except OutputError:
            os._exit(2)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def rewritten(folder: Path) -> Callable[[], None]:
    def work() -> None:
        for name in ("a", "b"):
            write_text(folder / name, f"new {name} " * 100)

    return work


def begun(place: Path) -> Path:
    folder = place / "folder"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / name).write_text(f"old {name} " * 100)
        with (folder / name).open() as stream:
            os.fsync(stream.fileno())
    return folder


def test_a_file_is_the_old_or_the_new_one_wherever_the_power_goes(tmp_path):
    folder = begun(tmp_path / "count")
    assert in_child(count_events(tmp_path / "events"), rewritten(folder)) == 0
    events = len((tmp_path / "events").read_text().splitlines())
    assert events == 6  # of each file: its bytes, its name, its folder
    for event in range(events):
        folder, journal = begun(tmp_path / str(event)), tmp_path / str(event) / "journal"
        assert in_child(die_at(event, journal, folder), rewritten(folder)) == -9
        lose_power(folder, journal)
        for name in ("a", "b"):
            content = (folder / name).read_text()
            assert content in (f"new {name} " * 100, f"old {name} " * 100), (event, name)


def test_what_is_not_forced_to_disk_is_lost(tmp_path):
    folder, journal = begun(tmp_path / "one"), tmp_path / "journal"

    def careless() -> None:
        for name in "cd":
            (folder / f"{name}.new").write_text("0123456789")
            os.replace(folder / f"{name}.new", folder / name)
        write_text(folder / "e", "whole")  # flushes the folder

    assert in_child(die_at(99, journal, folder), careless) == 0
    assert lose_power(folder, journal) == 2
    # The folder was flushed after the renames, so that all names are on disk, and half of the bytes of the first two.
    assert {name: (folder / name).read_text() for name in "cde"} == {"c": "01234", "d": "01234", "e": "whole"}

    def nameless() -> None:
        (folder / "f.new").write_text("0123456789")
        os.replace(folder / "f.new", folder / "f")

    assert in_child(die_at(99, tmp_path / "second", folder), nameless) == 0
    assert lose_power(folder, tmp_path / "second") == 1
    assert not (folder / "f").exists()


def test_a_disk_that_fails_leaves_the_old_file(tmp_path):
    for event in range(3):
        folder = begun(tmp_path / str(event))
        assert in_child(fail_at(event), rewritten(folder)) == 2
        assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        assert (folder / "a").read_text()[:3] == ("old" if event < 2 else "new")


def test_a_command_is_killed_and_what_it_printed_is_kept():
    assert attempt(["version"]).code == 0
    assert attempt(["run", "no such file"]).is_one_line
    assert attempt(["plugins"], seconds=0.0).code == -9


def test_bars_see_what_was_lost():
    row = {"part": "killed", "run": "finite", "faults": 5, "one line": True, "finished": True, "equal": True}
    good = pd.DataFrame([row] * 3)
    assert all(bar.holds for bar in bars(good))
    for fault in ("finished", "equal", "one line"):
        bad = good.assign(**{fault: [True, False, True]})
        if fault == "finished":
            bad["equal"] = bad["finished"]
        assert [bar.holds for bar in bars(bad)].count(False) == 1
    assert table(good).splitlines()[2] == "| killed | finite | 3 | 15 | 3 | 3 | 3 |"


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill_at_a_write():
    from benchmarks.faults.trials import trial

    (found,) = trial("power lost", "finite", 2, 5)
    assert found["faults"] > 3
    assert (found["finished"], found["equal"]) == (True, True), found["said"]
