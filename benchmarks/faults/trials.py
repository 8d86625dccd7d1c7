"""Runs that are killed, refused a write or cut from the power, and what is left of them."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.faults.child import Ended, attempt, count_events, die_at, fail_at, lose_power

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


def trial(part: str, name: str, number: int, of: int) -> list[dict[str, Any]]:
    """One fault and the runs after it, as a row: whether the next run finishes, and with the same results."""
    whole = uninterrupted(name)
    with tempfile.TemporaryDirectory() as folder_:
        folder = Path(folder_)
        return [{"part": part, "run": name, "trial": number, **PARTS[part](whole, folder, number, of)}]


def _resumed(whole: Uninterrupted, run: Path) -> dict[str, Any]:
    ended = attempt(["run", str(whole.config), "--out", str(run), "--resume"])
    finished = ended.code == 0
    return {
        "finished": finished,
        "equal": finished and state(run) == whole.state,
        "said": "" if finished else ended.output[-300:],
    }


def killed(whole: Uninterrupted, folder: Path, number: int, of: int) -> dict[str, Any]:
    """SIGKILL at a random instant."""
    run, rng = folder / "run", np.random.default_rng(number)
    ended = attempt(["run", str(whole.config), "--out", str(run)], seconds=rng.uniform(0, whole.seconds))
    return {"interrupted": ended.code == -9, "one line": True, **_resumed(whole, run)}


def killed_at_a_boundary(whole: Uninterrupted, folder: Path, number: int, of: int) -> dict[str, Any]:
    """SIGKILL before one of the run's writes reaches the disk: trials are spread over all of them."""
    run = folder / "run"
    event = number * whole.events // of
    ended = attempt(["run", str(whole.config), "--out", str(run)], prepare=die_at(event, folder / "journal"))
    return {"interrupted": ended.code == -9, "one line": True, **_resumed(whole, run)}


def without_power(whole: Uninterrupted, folder: Path, number: int, of: int) -> dict[str, Any]:
    """The same, and what was not forced to disk is lost."""
    run, place = folder / "place" / "run", folder / "place"
    place.mkdir()
    event = (2 * number + 1) * whole.events // (2 * of)
    ended = attempt(["run", str(whole.config), "--out", str(run)], prepare=die_at(event, folder / "journal"))
    lose_power(place, folder / "journal")
    return {"interrupted": ended.code == -9, "one line": True, **_resumed(whole, run)}


def disk_fails(whole: Uninterrupted, folder: Path, number: int, of: int) -> dict[str, Any]:
    """EIO where a file is forced to disk or renamed."""
    run = folder / "run"
    ended = attempt(["run", str(whole.config), "--out", str(run)], prepare=fail_at(number * whole.events // of))
    return {**_refused(ended), **_resumed(whole, run)}


def disk_is_full(whole: Uninterrupted, folder: Path, number: int, of: int) -> dict[str, Any]:
    """A file system of a size between nothing and what the run needs; then it is given more."""
    with small_disk(folder / "disk", 4096 * (1 + number * whole.size // of // 4096)) as grow:
        run = folder / "disk" / "run"
        ended = attempt(["run", str(whole.config), "--out", str(run)])
        grow()
        return {**_refused(ended), **_resumed(whole, run)}


def _refused(ended: Ended) -> dict[str, Any]:
    return {"interrupted": ended.code != 0, "one line": ended.code == 0 or ended.is_one_line,
            "refusal": ended.output[-300:]}  # fmt: skip


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a file system of ``size`` bytes (as root), and yield what enlarges it."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield lambda: _remount(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


def _remount(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1G", str(place)], check=True)


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


PARTS: dict[str, Callable[[Uninterrupted, Path, int, int], dict[str, Any]]] = {
    "killed at random": killed,
    "killed at a write": killed_at_a_boundary,
    "power lost": without_power,
    "disk fails": disk_fails,
    "disk is full": disk_is_full,
}
