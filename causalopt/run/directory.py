"""The directory of a run: complete files only, one writer at a time, and a manifest with the cost of each stage."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import psutil
import torch

from causalopt.errors import ConfigError, DataError
from causalopt.run.replacement import (
    FILES,
    FOLDERS,
    MARK,
    Replacement,
    holds_nothing_yet,
    read_manifest,
    refuse_to_replace,
)

PACKAGES = ("causalopt", "torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "pandas")
WARNINGS = "warnings.json"
TABLES = ("data.path", "data.test.path", "outcome_data.path")


def is_finished(path: Path) -> bool:
    """Whether a directory contains a finished run, and no other run is in progress to replace it."""
    manifest = read_manifest(path)
    return manifest is not None and manifest["finished"] and read_manifest(Replacement(path).new) is None


class RunDirectory:
    """Files of one run.

    Parameters
    ----------
    path:
        The directory; it is created on the first `open`.

    Attributes
    ----------
    path:
        Folder to which files are written: while a run is in progress that replaces another, a folder beside the
        directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = path
        self._replacement = Replacement(path)
        self._manifest: dict[str, Any] = {}
        self._written: set[str] = set()
        self._issued: Callable[[], list[str]] = list
        self._issued_before: set[str] = set()

    @property
    def work(self) -> Path:
        """Folder with files that are kept until the end, to resume an interrupted run."""
        return self.path / "work"

    @contextmanager
    def open(
        self,
        config: str,
        *,
        resume: bool,
        overwrite: bool,
        facts: dict[str, Any],
        inputs: Mapping[str, Path] | None = None,
    ) -> Iterator[bool]:
        """Lock the directory, write the configuration, and maintain the manifest while the block runs.

        Parameters
        ----------
        config:
            The configuration as YAML.
        resume, overwrite:
            Continue an interrupted run; replace an earlier run by a new one, if the block succeeds.
        facts:
            Further entries of the manifest; "fingerprint" has a hash of each data set, which a resumed run must match.
        inputs:
            Files that the run reads, by their name in the configuration; a folder that contains one is not replaced.

        Yields
        ------
        bool
            True if ``resume`` finds the run finished: there is nothing to do.

        Raises
        ------
        ConfigError
            If the directory contains a run (and neither ``resume`` nor ``overwrite`` is given) or other files, was
            written with another configuration, or is being written to.
        DataError
            If the data have changed since the start of the run to resume.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path}: is a file; name a directory with --out")
        home = self.path.resolve()
        home.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(home.with_name(f".{home.name}.lock")))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ConfigError(f"{self.path}: another run is writing to it; name another directory with --out") from None
        try:
            self._replacement.recover()
            if self._claim(config, resume=resume, overwrite=overwrite, facts=facts, inputs=inputs or {}):
                yield True
                return
            self._manifest = {
                MARK: 1,
                "finished": False,
                "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
                | {"python": platform.python_version()},
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                **facts,
                "stages": [],
                "files": [],
            }
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_json("manifest.json", self._manifest)
            self.write_text("config.yaml", config)
            self.work.mkdir(exist_ok=True)
            yield False
            self._finish()
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _claim(
        self, config: str, *, resume: bool, overwrite: bool, facts: dict[str, Any], inputs: Mapping[str, Path]
    ) -> bool:
        """Choose the folder to write to; return whether it already contains this run, finished."""
        if overwrite:
            self._replacement.discard()
            if not holds_nothing_yet(self._target):
                refuse_to_replace(self._target, inputs)
                self.path = self._replacement.new
            return False
        if resume and read_manifest(self._replacement.new) is not None:
            if not holds_nothing_yet(self._target):
                refuse_to_replace(self._target, inputs)
            self.path = self._replacement.new
        if holds_nothing_yet(self.path):
            return False
        manifest = read_manifest(self.path)
        if manifest is None:
            raise ConfigError(
                f"{self.path}: is not empty and is not a run (it has no manifest.json of a run); "
                "name another directory with --out"
            )
        if not resume:
            raise ConfigError(
                f"{self.path}: already contains a run; give --resume to continue it, --overwrite to "
                "start again, or --out to name another directory"
            )
        self._check_same(config, manifest, facts, inputs)
        if manifest["finished"]:
            shutil.rmtree(self.work, ignore_errors=True)  # left by a process that was killed at the very end
            if self.path != self._target:
                self._swap()
        return bool(manifest["finished"])

    def _check_same(
        self, config: str, manifest: dict[str, Any], facts: dict[str, Any], inputs: Mapping[str, Path]
    ) -> None:
        if (self.path / "config.yaml").read_text(encoding="utf-8") != config:
            raise ConfigError(
                f"{self._target}: was written with another configuration; --resume needs the same one "
                f"(run it with {self.path / 'config.yaml'}), --overwrite starts again"
            )
        before, now = manifest.get("fingerprint", {}), facts.get("fingerprint", {})
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            tables = ", ".join(str(path) for name, path in inputs.items() if name in TABLES)
            tables = tables or "the world"
            raise DataError(
                f"{tables}: the data have changed since the run in {self._target} began ({', '.join(changed)} rows); "
                "restore the old data to --resume it, or start again with --overwrite or in another --out"
            )

    def _finish(self) -> None:
        kept = (name for name in (*FILES, *self._written) if Path(name).parts[0] != self.work.name)
        written = {name for name in kept if (self.path / name).is_file()}
        found = (path for name in FOLDERS for path in (self.path / name).rglob("*") if name != "work")
        written |= {path.relative_to(self.path).as_posix() for path in found if path.is_file()}
        self._manifest |= {"finished": True, "files": sorted(written)}
        self.write_json("manifest.json", self._manifest)
        shutil.rmtree(self.work, ignore_errors=True)
        if self.path != self._target:
            self._swap()

    def _swap(self) -> None:
        self._replacement.swap()
        self.path = self._target

    def collect(self, issued: Callable[[], list[str]]) -> None:
        """Keep the warnings that ``issued`` returns, for the process that resumes the run if this one is killed.

        They are written before every file that this class writes: a stage that left one, and so is not repeated, has
        left its warnings.
        """
        self._issued = issued
        kept = self.work / WARNINGS
        self._issued_before = set(json.loads(kept.read_text(encoding="utf-8"))) if kept.exists() else set()

    def warnings(self) -> list[str]:
        """Return the distinct warnings of this run, of interrupted processes too, in alphabetical order."""
        return sorted(self._issued_before.union(self._issued()))

    def _keep_warnings(self) -> None:
        found = self.warnings()
        if set(found) != self._issued_before and self.work.is_dir():
            _write_whole(self.work / WARNINGS, json.dumps(found, ensure_ascii=False) + "\n")
            self._issued_before = set(found)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the run time in seconds and the peak memory of a block."""
        started = time.perf_counter()
        with _PeakMemory() as memory:
            yield
        self._manifest["stages"].append(
            {
                "name": name,
                "seconds": round(time.perf_counter() - started, 2),
                "peak_memory_mb": round(memory.peak / 2**20),
            }
        )
        self.write_json("manifest.json", self._manifest)

    def write_text(self, name: str, text: str) -> None:
        """Write a file completely or not at all."""
        self._keep_warnings()
        _write_whole(self.path / name, text)
        self._written.add(name)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON; a value that is not finite raises an error instead of producing an invalid file."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet table completely or not at all."""
        self._keep_warnings()
        target = self.path / name
        partial = target.with_name(f".{target.name}.partial")
        frame.to_parquet(partial, index=False)
        os.replace(partial, target)
        self._written.add(name)

    def log_step(self, policy: str, metrics: Mapping[str, Any], *, first: bool) -> None:
        """Append a step of a policy's training to ``training.jsonl``.

        Parameters
        ----------
        policy, metrics:
            The policy and the metrics of the step; the metric ``step`` counts from 1.
        first:
            Whether this is the first step of the policy that this process logs: steps from this one on, which an
            interrupted process had logged after its last checkpoint, are removed.
        """
        self._keep_warnings()
        path = self.path / "training.jsonl"
        if first and path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _stays(line, policy, metrics)]
            self.write_text("training.jsonl", "".join(f"{line}\n" for line in kept))
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"policy": policy, **metrics}) + "\n")


def _write_whole(target: Path, text: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, target)


def _stays(line: str, policy: str, metrics: Mapping[str, Any]) -> bool:
    try:
        logged = json.loads(line)
    except ValueError:
        return False  # the process was killed while writing this line
    return bool(logged["policy"] != policy or ("step" in metrics and logged["step"] < metrics["step"]))


class _PeakMemory:
    """Measures the peak resident memory of this process (and of the GPU, if there is one) while a block runs."""

    def __enter__(self) -> _PeakMemory:
        self._process = psutil.Process()
        self.peak = self._process.memory_info().rss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if torch.cuda.is_available():
            self.peak = max(self.peak, torch.cuda.max_memory_allocated())

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, self._process.memory_info().rss)
