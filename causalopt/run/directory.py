"""The directory of a run: complete files only, one writer at a time, and a manifest with the cost of each stage."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import filelock
import pandas as pd
import psutil
import torch
import yaml

from causalopt.backends.saved import FOR_READERS
from causalopt.durable import changed, digest, digests, flush, flush_tree, is_inside, whole, write_text
from causalopt.errors import ConfigError, DataError, collected_warnings
from causalopt.output import writing
from causalopt.progress import stage as shown_stage
from causalopt.progress import stage_done_before
from causalopt.run.replacement import (
    FILES,
    FOLDERS,
    MARK,
    WORK,
    Replacement,
    holds_nothing_yet,
    is_half_made,
    read_manifest,
    refuse_links,
    refuse_to_replace,
)
from causalopt.run.stages import Stage, StageRecord, differing

T = TypeVar("T")

PACKAGES = ("causalopt", "torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "pandas")
LOG = "training.jsonl"
REWRITTEN = ("config.yaml", "report.html")
"""Files of a finished run that may be edited or made again."""
LAYOUT = 2
"""Version of the layout of a run directory; 1 had no digests and no keys of stages."""
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
        self._stages: list[StageRecord] = []
        self._earlier: dict[str, StageRecord] = {}
        self._current: str | None = None
        self._issued: Callable[[], list[str]] = list
        self._issued_before: set[str] = set()

    @property
    def work(self) -> Path:
        """Folder with files that are kept until the end, to resume an interrupted run."""
        return self.path / WORK

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
            Further entries of the manifest; "fingerprint" has a hash of each data set, which a finished run to resume
            must match.
        inputs:
            Files that the run reads, by their name in the configuration; a folder that contains one is not replaced.

        Yields
        ------
        bool
            True if ``resume`` finds the run finished: there is nothing to do.

        Raises
        ------
        ConfigError
            If the directory contains a run (and neither ``resume`` nor ``overwrite`` is given) or other files, or a
            finished run of another configuration, or is being written to.
        DataError
            If ``resume`` finds a finished run of other data.
        """
        if self.path.is_file():
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
            self._earlier = _records(self._target, "ahead") | _records(self.path, "ahead")
            self._manifest = {
                MARK: LAYOUT,
                "finished": False,
                "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
                | {"python": platform.python_version()},
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                **facts,
                "stages": [],
                "ahead": [asdict(one) for one in self._earlier.values()],
                "files": {},
            }
            self.path.mkdir(parents=True, exist_ok=True)
            self.write_json("manifest.json", self._manifest)
            self.write_text("config.yaml", config)
            self.work.mkdir(exist_ok=True)
            log = self._target / LOG
            if self.path != self._target and log.is_file() and not (self.path / LOG).exists():
                shutil.copyfile(log, self.path / LOG)  # steps of fits that are done again are removed when they begin
            yield False
            self._finish()
        finally:
            # Removed while it is locked: another process that holds the file open sees that it has no name any more,
            # and locks a new one (filelock 4).
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def _claim(
        self, config: str, *, resume: bool, overwrite: bool, facts: dict[str, Any], inputs: Mapping[str, Path]
    ) -> bool:
        """Choose the folder to write to; return whether it already contains this run, finished."""
        if overwrite:
            if not holds_nothing_yet(self._target):
                refuse_to_replace(self._target, inputs)
                self.path = self._replacement.new
            refuse_links(self.path)
            return False
        target, new = read_manifest(self._target), self._replacement.new
        is_done = target is not None and target["finished"] and _is_same(self._target, config, target, facts)
        if resume and is_done and not _has_configuration(new, config):
            self._replacement.discard()  # a killed replacement by another configuration, which is not wanted now
        if resume and read_manifest(new) is not None:
            if not holds_nothing_yet(self._target):
                refuse_to_replace(self._target, inputs)
            self.path = self._replacement.new
        if holds_nothing_yet(self.path):
            self._replacement.discard()  # of a run that is gone
            return False
        refuse_links(self.path)
        manifest = read_manifest(self.path)
        if manifest is None and resume and is_half_made(self.path):
            return False
        if manifest is None:
            raise ConfigError(
                f"{self.path}: is a run whose manifest.json is damaged: --resume computes it again"
                if is_half_made(self.path)
                else f"{self.path}: is not empty and is not a run (it has no manifest.json of a run); "
                "name another directory with --out"
            )
        if not resume:
            raise ConfigError(
                f"{self.path}: already contains a run; give --resume to continue it, --overwrite to "
                "start again, or --out to name another directory"
            )
        if manifest["finished"]:
            self._check_same(config, manifest, facts, inputs)
            shutil.rmtree(self.work, ignore_errors=True)  # left by a process that was killed at the very end
            if self.path != self._target:
                self._swap()
        return bool(manifest["finished"])

    def _check_same(
        self, config: str, manifest: dict[str, Any], facts: dict[str, Any], inputs: Mapping[str, Path]
    ) -> None:
        """Raise unless a finished run has this configuration, these data and the files that it wrote.

        Another run does not replace its results unless it is told to.
        """
        if not _has_configuration(self.path, config):
            raise ConfigError(
                f"{self._target}: is a finished run of another configuration; --overwrite replaces it, and computes "
                "again only the stages that have changed"
            )
        before, now = manifest.get("fingerprint", {}), facts.get("fingerprint", {})
        others = differing(before, now)
        if others:
            tables = ", ".join(str(path) for name, path in inputs.items() if name in TABLES)
            tables = tables or "the world"
            raise DataError(
                f"{tables}: the data have changed since the run in {self._target} ({', '.join(others)} rows); "
                "restore the old data, or replace the run with --overwrite or name another --out"
            )
        written = manifest["files"] if manifest[MARK] == LAYOUT else {}
        damaged = changed(self.path, _without_editable(written))
        if damaged is not None:
            raise DataError(f"{damaged}; --overwrite computes again what depends on it")

    def _finish(self) -> None:
        self._remove_stale()
        self._forget_other_policies()
        kept = (name for name in (*FILES, *self._written) if Path(name).parts[0] != self.work.name)
        written = {name for name in kept if (self.path / name).is_file()}
        found = (path for name in FOLDERS for path in (self.path / name).rglob("*") if name != WORK)
        written |= {path.relative_to(self.path).as_posix() for path in found if path.is_file()}
        written.discard("manifest.json")
        self._manifest |= {"finished": True, "ahead": [], "files": digests(self.path, sorted(written))}
        self.write_json("manifest.json", self._manifest)
        shutil.rmtree(self.work, ignore_errors=True)
        if self.path != self._target:
            self._swap()

    def _remove_stale(self) -> None:
        """Remove what an interrupted run with other settings has left, such as the policy of a dropped comparison."""
        for record in self._earlier.values():
            for name, value in record.files.items():
                path = self.path / name
                if name not in self._written and path.is_file() and digest(path) == value:
                    path.unlink()
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()

    def _forget_other_policies(self) -> None:
        """Remove the steps of comparisons that are no longer part of the run from the log."""
        path, ours = self.path / LOG, ("reference", "policy", *self._manifest.get("comparisons", ()))
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if (step := _step(line)) is not None and step["policy"] in ours]
            if kept != lines:
                self.write_text(LOG, "".join(f"{line}\n" for line in kept))

    def _swap(self) -> None:
        self._replacement.swap()
        self.path = self._target

    def warnings(self) -> list[str]:
        """Return the distinct warnings of the stages so far, in alphabetical order."""
        return sorted({message for stage in self._stages for message in stage.warnings})

    def has(self, stage: Stage[Any]) -> bool:
        """Whether an earlier process has left this stage's result, with the same inputs and undamaged.

        If it is that of the run to be replaced, its files are copied.
        """
        record = self._earlier.get(stage.name)
        if record is None or record.key != stage.key:
            return False
        files = _without_editable(record.files)
        if changed(self.path, files) is None:
            return True
        if self.path == self._target or changed(self._target, files) is not None:
            return False
        for name in (name for name in record.files if (self._target / name).is_file()):
            copy = self.path / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            with writing(copy):
                shutil.copyfile(self._target / name, copy)
                flush(copy)
        return True

    def do(self, stage: Stage[T], done: bool | None = None) -> T:
        """Return the result of a stage: read back if `has` finds it, else computed, with its cost in the manifest.

        ``done`` is what `has` has found, if it was asked before.
        """
        if self.has(stage) if done is None else done:
            result = stage.load()
            if result is not None:
                self._finish_stage(replace(self._earlier[stage.name], reused=True, changed=[]))
                stage_done_before(stage.name)
                return result
        for name in stage.files:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)  # half-made
            path.unlink(missing_ok=True)
        before = self._earlier.get(stage.name)
        started, started_computing = time.perf_counter(), time.process_time()
        self._issued_before = self._take_up(stage)
        with shown_stage(stage.name), _PeakMemory() as memory, collected_warnings() as messages:
            self._issued, self._current = messages, stage.key
            result = stage.compute()
            warned = self._all_issued()
            self._issued, self._current = list, None
        for path in (self.path / name for name in (*stage.files, LOG)):
            if path.exists():
                with writing(path):
                    flush_tree(path)
        self._finish_stage(
            StageRecord(
                name=stage.name,
                key=stage.key,
                inputs=stage.described,
                files=digests(self.path, (name for name in stage.files if (self.path / name).exists())),
                seconds=round(time.perf_counter() - started, 2),
                peak_memory_mb=round(memory.peak / 2**20),
                warnings=warned,
                changed=[] if before is None else differing(before.inputs, stage.described),
                cpu_seconds=round(time.process_time() - started_computing, 2),
            )
        )
        return result

    def _finish_stage(self, record: StageRecord) -> None:
        self._stages.append(record)
        self._written.update(record.files)
        self._manifest["stages"] = [asdict(one) for one in self._stages]
        # Stages of the earlier process that this one has not come to yet: another kill must not lose them.
        ahead = [one for name, one in self._earlier.items() if name not in {done.name for done in self._stages}]
        self._manifest["ahead"] = [asdict(one) for one in ahead]
        self.write_json("manifest.json", self._manifest)

    def _take_up(self, stage: Stage[Any]) -> set[str]:
        """Return the warnings of a process that was killed in this stage, which continues from its checkpoints."""
        try:
            left = json.loads((self.work / WARNINGS).read_text(encoding="utf-8"))
            return set(left["warnings"]) if left["key"] == stage.key else set()
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _all_issued(self) -> list[str]:
        return sorted(self._issued_before.union(self._issued()))

    def _keep_warnings(self) -> None:
        found = self._all_issued()
        if self._current is not None and set(found) != self._issued_before and self.work.is_dir():
            write_text(self.work / WARNINGS, json.dumps({"key": self._current, "warnings": found}) + "\n")
            self._issued_before = set(found)

    def write_text(self, name: str, text: str) -> None:
        """Write a file completely or not at all."""
        self._keep_warnings()
        write_text(self.path / name, text)
        self._written.add(name)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON; a value that is not finite raises an error instead of producing an invalid file."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet table completely or not at all."""
        self._keep_warnings()
        with whole(self.path / name) as partial:
            frame.to_parquet(partial, index=False)
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
        path = self.path / LOG
        if first and path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _stays(line, policy, metrics)]
            self.write_text(LOG, "".join(f"{line}\n" for line in kept))
        with writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"policy": policy, **metrics}) + "\n")


def _without_editable(files: Mapping[str, str]) -> dict[str, str]:
    """Digests of the files that must be as they were written: all but those in `REWRITTEN`, and model cards."""
    return {name: value for name, value in files.items() if name not in REWRITTEN and Path(name).name != FOR_READERS}


def _has_configuration(folder: Path, config: str) -> bool:
    """Whether a run was written with this configuration; comments and order do not count."""
    try:
        return bool(yaml.safe_load((folder / "config.yaml").read_text("utf-8")) == yaml.safe_load(config))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False


def _is_same(folder: Path, config: str, manifest: dict[str, Any], facts: dict[str, Any]) -> bool:
    fingerprint = facts.get("fingerprint", {})
    return _has_configuration(folder, config) and not differing(manifest.get("fingerprint", {}), fingerprint)


def stages_of(run_directory: Path) -> list[StageRecord]:
    """Return the stages that a run has finished, in order."""
    return list(_records(run_directory).values())


def _records(folder: Path, *more: str) -> dict[str, StageRecord]:
    """Return the stages in a manifest, and those in other lists of it, by name; none of an earlier layout."""
    manifest = read_manifest(folder)
    if manifest is None or manifest[MARK] != LAYOUT:
        return {}
    try:
        records = [StageRecord(**one) for name in (*more, "stages") for one in manifest.get(name, ())]
        return {one.name: one for one in records if all(map(is_inside, one.files))}
    except TypeError:
        return {}  # damaged: nothing is known to be done


def _step(line: str) -> dict[str, Any] | None:
    """Return a line of the log; None if the process was killed while writing it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "policy" in found else None


def _stays(line: str, policy: str, metrics: Mapping[str, Any]) -> bool:
    logged = _step(line)
    if logged is None:
        return False
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
