"""Runs that are killed, refused a write or cut from the power, and what is left of them."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.faults.child import LONGEST, Ended, attempt, count_events, die_at, fail_at, lose_power

DATA = {"world": {"name": "template"}, "rows": 600}
FINITE = {
    "data": DATA,
    "outcome_model": "ridge",
    "assignment_model": "gaussian",
    "backend": "finite",
    "comparisons": {"naive": {"objective": "cpo", "outcome_model": "zero", "assignment_model": "randomized"}},
    "choose": {"draws": 100},
    "evaluation": {"draws": 100, "estimators": ["balance", "sndr"]},
}
LANGUAGE_MODEL = {
    **FINITE,
    "data": {**DATA, "rows": 300},
    "backend": {
        "name": "huggingface",
        "model": "scratch:tiny",
        "reference": {"training": {"num_train_epochs": 2, "save_steps": 4}},
        "training": {"num_train_epochs": 1, "save_steps": 2},
        "sampling": {"max_new_tokens": 16},
    },
    "samples": {"per_row": 1},
    "comparisons": {},
    "choose": None,
}
_PAGE = 4096
CONFIGURATIONS = {"finite": FINITE, "language model": LANGUAGE_MODEL}


@dataclass(frozen=True)
class Uninterrupted:
    """A run that nothing happened to: its configuration, results, seconds, number of events and bytes."""

    config: Path
    state: dict[str, Any]
    seconds: float
    events: int
    size: int


@cache
def uninterrupted(name: str) -> Uninterrupted:
    """Run once in each process of the benchmark."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(CONFIGURATIONS[name]), encoding="utf-8")
    journal = folder / f"{name}.events"
    ended = attempt(["run", str(config), "--out", str(folder / name)], prepare=count_events(journal))
    assert ended.code == 0, ended.output
    size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
    return Uninterrupted(config, state(folder / name), ended.seconds, len(journal.read_text().splitlines()), size)


def state(run: Path) -> dict[str, Any]:
    """What must not depend on what happened: metrics, the files of policies and tables, the steps that were logged."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    steps = [json.loads(line) for line in (run / "training.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "metrics": (run / "metrics.json").read_text(encoding="utf-8"),
        "files": {name: digest for name, digest in manifest["files"].items() if name.endswith(("tensors", "parquet"))},
        "steps": [[one["policy"], one.get("stage"), one.get("step")] for one in steps],
    }


@dataclass(frozen=True)
class Fault:
    """What happens to one attempt to finish the run, and the exit code with which it may then end besides 0."""

    ends_with: int = 0
    prepare: Callable[[], None] | None = None
    seconds: float = LONGEST


UNDISTURBED = Fault()
KILLED, REFUSED = -9, 2
PARTS_OF_RUN = 5
"""Parts into which the faults of one trial divide a run."""
MOST_FAULTS = 8
"""Faults of one trial: what a fault interrupts is begun again, so that there are more than parts."""


def trial(part: str, name: str, number: int, of: int) -> list[dict[str, Any]]:
    """Resume a run after one fault of a kind and meet the next, until it finishes; one row.

    After `MOST_FAULTS` an attempt is left undisturbed, which must finish.
    """
    whole = uninterrupted(name)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "disk" / "run"
        faults, ended = 0, Ended(REFUSED, "no attempt", 0.0)
        with closing(PARTS[part](whole, run, number, of)) as attempts:
            for fault in attempts:
                command = ["run", str(whole.config), "--out", str(run), "--resume"]
                ended = attempt(command, prepare=fault.prepare, seconds=fault.seconds)
                faults += ended.code != 0
                if ended.code != fault.ends_with or not ended.code or (ended.code > 0 and not ended.is_one_line):
                    break
            finished = ended.code == 0
            row = {
                "part": part,
                "run": name,
                "trial": number,
                "faults": faults,
                "one line": ended.code <= 0 or ended.is_one_line,
                "finished": finished,
                "equal": finished and state(run) == whole.state,
                "said": "" if finished else ended.output[-300:],
            }
        return [row]


Attempts = Generator[Fault]


def killed_at_random(whole: Uninterrupted, run: Path, number: int, of: int) -> Attempts:
    """SIGKILL at a random instant."""
    rng = np.random.default_rng([number, of])
    for _ in range(MOST_FAULTS):
        yield Fault(KILLED, seconds=rng.uniform(0, 2 * whole.seconds / PARTS_OF_RUN))
    yield UNDISTURBED


def _events(whole: Uninterrupted, number: int, of: int) -> list[int]:
    """For each attempt, the event at which a fault waits; over all trials, every event of the run is one."""
    step = whole.events / PARTS_OF_RUN
    return [int(step * number / of), *[int(step)] * (MOST_FAULTS - 1)]


def killed_at_a_write(whole: Uninterrupted, run: Path, number: int, of: int) -> Attempts:
    """SIGKILL before one of the run's writes reaches the disk."""
    for i, event in enumerate(_events(whole, number, of)):
        yield Fault(KILLED, die_at(event, run.parent.parent / f"{i}.journal", run.parent))
    yield UNDISTURBED


def power_lost(whole: Uninterrupted, run: Path, number: int, of: int) -> Attempts:
    """The same, and what was not forced to disk is lost."""
    for i, event in enumerate(_events(whole, number, of)):
        journal = run.parent.parent / f"{i}.journal"
        yield Fault(KILLED, die_at(event, journal, run.parent))
        lose_power(run.parent, journal)
    yield UNDISTURBED


def disk_fails(whole: Uninterrupted, run: Path, number: int, of: int) -> Attempts:
    """EIO where a file is forced to disk or renamed."""
    for event in _events(whole, number, of):
        yield Fault(REFUSED, fail_at(event))
    yield UNDISTURBED


def disk_is_full(whole: Uninterrupted, run: Path, number: int, of: int) -> Attempts:
    """A file system that is too small for the run, and is enlarged by a part of what the run needs."""
    step = whole.size / PARTS_OF_RUN
    first = step * number / of
    with small_disk(run.parent, int(first)) as grow:
        for i in range(1, MOST_FAULTS + 1):
            yield Fault(REFUSED)
            grow(int(first + i * step))
        grow(1 << 30)
        yield UNDISTURBED


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[int], None]]:
    """Mount a file system of ``size`` bytes (as root; a page at least), and yield what changes its size."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={max(size, _PAGE)}", "tmpfs", str(place)], check=True)
    try:
        yield lambda new: _remount(place, new)
    finally:
        subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


def _remount(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def can_mount() -> bool:
    """Whether this process may mount file systems."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder) / "disk", 1 << 20):
                return True
        except subprocess.CalledProcessError:
            return False


PARTS: dict[str, Callable[[Uninterrupted, Path, int, int], Attempts]] = {
    "killed at random": killed_at_random,
    "killed at a write": killed_at_a_write,
    "power lost": power_lost,
    "disk fails": disk_fails,
    "disk is full": disk_is_full,
}
