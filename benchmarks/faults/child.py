"""A command in a process of its own, which dies or is refused a write at a point that the parent chooses."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causalopt.cli.main import main

LONGEST = 600.0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (minus the signal that killed it), what it printed, and its seconds."""

    code: int
    output: str
    seconds: float

    @property
    def is_one_line(self) -> bool:
        """Whether it ended with one line that a user can act upon: exit code 2 and no traceback."""
        errors = [line for line in self.output.splitlines() if line.startswith("error:")]
        return self.code == 2 and len(errors) == 1 and "Traceback" not in self.output


def attempt(arguments: Sequence[str], *, prepare: Callable[[], None] | None = None, seconds: float = LONGEST) -> Ended:
    """Run the command line in a fork of this process, which has imported everything, and kill it after ``seconds``.

    ``prepare`` is called in the child first.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as stream:
        child = os.fork()
        if child == 0:
            _become(arguments, prepare, stream.fileno())
        status = None
        while status is None:
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
            elif time.monotonic() - start > seconds:
                os.kill(child, signal.SIGKILL)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            else:
                time.sleep(0.002)
        stream.seek(0)
        return Ended(status, stream.read().decode(errors="replace"), time.monotonic() - start)


def _become(arguments: Sequence[str], prepare: Callable[[], None] | None, output: int) -> None:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        if prepare is not None:
            prepare()
        sys.argv = ["causalopt", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def count_events(journal: Path) -> Callable[[], None]:
    """Return what makes a child note each of its events: a file or folder forced to disk, a file renamed."""

    def prepare() -> None:
        _at_each_event(lambda _: _note(journal, "event"))

    return prepare


def die_at(event: int, journal: Path, folder: Path) -> Callable[[], None]:
    """Return what makes a child kill itself before its event number ``event``, and note what is on disk by then.

    What is in ``folder`` before the child starts is on disk.
    """

    def prepare() -> None:
        _record_disk(journal, folder)
        left = event

        def step(_: str) -> None:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

        _at_each_event(step)

    return prepare


def fail_at(event: int, number: int = errno.EIO) -> Callable[[], None]:
    """Return what makes a child's event number ``event`` fail, as a disk does that cannot write."""

    def prepare() -> None:
        left = event

        def step(what: str) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise OSError(number, os.strerror(number), what)

        _at_each_event(step)

    return prepare


def _at_each_event(step: Callable[[str], None]) -> None:
    fsync, replace = os.fsync, os.replace

    def counted_fsync(descriptor: int) -> None:
        step(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def counted_replace(source: Any, target: Any, **more: Any) -> None:
        step(str(target))
        replace(source, target, **more)

    os.fsync, os.replace = counted_fsync, counted_replace


def _record_disk(journal: Path, folder: Path) -> None:
    """Note what is forced to disk, and keep what renamed files replace, for `lose_power`."""
    for path in folder.rglob("*"):
        facts = path.stat(follow_symlinks=False)
        _note(journal, f"synced\t{facts.st_ino}\t{facts.st_mtime_ns}\t{path}")
    fsync, replace = os.fsync, os.replace
    stash = journal.with_suffix(".stash")
    stash.mkdir(exist_ok=True)

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        facts = os.fstat(descriptor)
        _note(journal, f"synced\t{facts.st_ino}\t{facts.st_mtime_ns}\t{os.readlink(f'/proc/self/fd/{descriptor}')}")

    def noted_replace(source: Any, target: Any, **more: Any) -> None:
        kept = stash / f"{time.monotonic_ns()}"
        if os.path.lexists(target):
            os.link(target, kept)
        replace(source, target, **more)
        _note(journal, f"renamed\t{os.stat(target).st_ino}\t{kept.name}\t{Path(target).resolve()}")

    os.fsync, os.replace = noted_fsync, noted_replace


def _note(journal: Path, line: str) -> None:
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def lose_power(folder: Path, journal: Path) -> int:
    """Undo under ``folder`` what was not on disk when a child died: cut files, take back renames; return how many.

    A file whose last change was not forced to disk keeps half of its bytes. A rename whose folder was not forced to
    disk afterwards is taken back.
    """
    notes = [line.split("\t") for line in journal.read_text().splitlines()] if journal.exists() else []
    on_disk = {(int(inode), int(time_)) for kind, inode, time_, _ in notes if kind == "synced"}
    undone = 0
    for place, (kind, inode, kept, target) in reversed(list(enumerate(notes))):
        path = Path(target)
        if kind != "renamed" or not path.exists() or path.stat().st_ino != int(inode):
            continue
        if any(later[0] == "synced" and later[3] == str(path.parent) for later in notes[place + 1 :]):
            continue
        old = journal.with_suffix(".stash") / kept
        if old.exists():
            os.replace(old, path)
        else:
            path.unlink()
        undone += 1
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            facts = path.stat()
            if (facts.st_ino, facts.st_mtime_ns) not in on_disk and facts.st_size:
                os.truncate(path, facts.st_size // 2)
                undone += 1
    return undone
