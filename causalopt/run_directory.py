"""The directory that a run leaves: whole files only, one writer at a time, and a manifest of what each stage cost."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import psutil
import torch

from causalopt.errors import ConfigError

PACKAGES = ("causalopt", "torch", "transformers", "peft", "scikit-learn", "lightgbm", "numpy", "pandas")


class RunDirectory:
    """Files of one run.

    Parameters
    ----------
    path:
        The directory; it is made on the first `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / "work"
        self._manifest: dict[str, Any] = {}

    @contextmanager
    def open(self, config: str, *, resume: bool, overwrite: bool, facts: dict[str, Any]) -> Iterator[None]:
        """Claim the directory, write the configuration, and keep the manifest while the block runs.

        Raises
        ------
        ConfigError
            When the directory holds a run (and neither ``resume`` nor ``overwrite`` is given), was made by another
            configuration, or is being written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path}: is a file; name a directory with --out")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(self.path.parent / f".{self.path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise ConfigError(f"{self.path}: another run is writing to it; name another directory with --out") from None
        try:
            self._claim(config, resume=resume, overwrite=overwrite)
            self._manifest = {
                "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
                | {"python": platform.python_version()},
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                **facts,
                "stages": [],
            }
            self.write_text("config.yaml", config)
            yield
            shutil.rmtree(self.work, ignore_errors=True)
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _claim(self, config: str, *, resume: bool, overwrite: bool) -> None:
        if self.path.exists() and any(self.path.iterdir()):
            if overwrite:
                if not (self.path / "config.yaml").exists():
                    raise ConfigError(f"{self.path}: is not a run (it has no config.yaml), so it is not overwritten")
                shutil.rmtree(self.path)
            elif not resume:
                raise ConfigError(
                    f"{self.path}: holds a run already; give --resume to go on with it, --overwrite to "
                    "begin again, or --out to name another directory"
                )
            elif (self.path / "config.yaml").read_text(encoding="utf-8") != config:
                raise ConfigError(
                    f"{self.path}: was made by another configuration; --resume needs the same one "
                    f"(run it with {self.path / 'config.yaml'})"
                )
        self.work.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the seconds and the peak memory of a block."""
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
        """Write a file whole or not at all."""
        target = self.path / name
        partial = target.with_name(f".{target.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)

    def write_json(self, name: str, value: Any) -> None:
        """Write JSON; a value that is not finite is an error rather than an invalid file."""
        self.write_text(name, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet table whole or not at all."""
        target = self.path / name
        partial = target.with_name(f".{target.name}.partial")
        frame.to_parquet(partial, index=False)
        os.replace(partial, target)


class _PeakMemory:
    """Samples the resident memory of this process (and of the GPU, when there is one) while a block runs."""

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
