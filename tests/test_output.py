"""Writing: a failure is one line that names the path and the reason, and nothing is half-written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import largest_file

from causalopt.backends.finite_policy import FinitePolicy
from causalopt.durable import write_text
from causalopt.errors import OutputError
from causalopt.output import check_new_file, check_new_folder, impossible, writing


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, if this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def policy() -> FinitePolicy:
    rng = np.random.default_rng(0)
    texts = [f"text {i}" for i in range(300)]
    return FinitePolicy(texts, np.zeros(300), rng.normal(size=(300, 64)), np.zeros(64))


@pytest.mark.parametrize("numbers", [10, 10_000])
def test_a_file_of_torch_on_a_full_disk_is_one_line(numbers: int) -> None:
    said = "^run: cannot be written: torch could not finish a file; make room on that disk"
    with pytest.raises(OutputError, match=said), writing("run"):
        torch.save({"weight": torch.zeros(numbers)}, "/dev/full")


def test_a_file_that_does_not_fit_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_text(path, "earlier")
    with largest_file(1000), pytest.raises(OutputError, match=r"numbers.json: cannot be written: File too large; make"):
        write_text(path, 10_000 * "x")
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_policy_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with largest_file(20_000), pytest.raises(OutputError, match="policy: cannot be written"):
        policy().save(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(full_disk: Path) -> None:
    with pytest.raises(OutputError, match=r"numbers\.json: cannot be written: No space left on device; make room"):
        write_text(full_disk / "numbers.json", 100_000 * "x")
    with pytest.raises(OutputError, match="No space left"):
        policy().save(full_disk / "policy")
    assert list(full_disk.iterdir()) == []


def test_no_permission(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="a: cannot be written: Permission denied; name a place where you may write"):
        raise_in(tmp_path / "a", PermissionError(errno.EACCES, "Permission denied"))
    if os.geteuid() == 0:
        pytest.skip("everything may be written to here")
    tmp_path.chmod(0o500)
    for check in (check_new_file, check_new_folder):
        with pytest.raises(OutputError, match="no permission"):
            check(tmp_path / "new")


def raise_in(path: Path, error: OSError) -> None:
    with writing(path):
        raise error


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("earlier")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "later")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "later"


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("", "the name is empty"),
        ("a\0b", "NUL byte"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "loop", "symbolic links"),
        ("a\udcff", "not UTF-8"),
    ):
        assert reason in str(impossible(name))
    assert impossible(tmp_path / "new" / "file") is None
    assert impossible(tmp_path) is None


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("nowhere/x")
    for check, name, reason in (
        (check_new_file, ".", "is a folder; name a file in it"),
        (check_new_file, "file/below", "is a file, not a folder"),
        (check_new_file, "none/below", "does not exist"),
        (check_new_file, "dangling", "which does not exist; remove the link"),
        (check_new_file, "/dev/null", "is not a file that can be replaced"),
        (check_new_folder, "/", "is the root of the file system"),
        (check_new_folder, "file", "is a file, not a folder"),
        (check_new_folder, "file/below/deeper", "is a file, not a folder"),
        (check_new_folder, "dangling", "which does not exist; remove the link"),
    ):
        with pytest.raises(OutputError, match=reason) as caught:
            check(tmp_path / name)
        assert "\n" not in str(caught.value)
    check_new_file(tmp_path / "file")
    check_new_folder(tmp_path / "none" / "below")
