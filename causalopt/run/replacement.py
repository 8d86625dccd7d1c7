"""A run in the place of an earlier one: built beside it and swapped in whole; the next start ends a killed swap.

Beside ``NAME`` lie ``.NAME.causalopt-new/NAME``, the run that is being made, and, during the swap,
``.NAME.causalopt-old``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalopt.errors import ConfigError

MARK = "causalopt_run"
"""Key of the manifest that says that the folder is a run; its value is the version of the layout."""
FILES = (
    "config.yaml",
    "manifest.json",
    "pseudo_outcomes.parquet",
    "samples.parquet",
    "training.jsonl",
    "metrics.json",
    "report.html",
)
FOLDERS = ("reference", "policy", "work")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a run, finished or not; None when the folder is no run of ours."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and MARK in manifest else None


def holds_nothing_yet(folder: Path) -> bool:
    """Whether a folder is absent, empty, or what a run leaves that dies before its first stage."""
    if not folder.exists():
        return True
    names = {path.name for path in folder.iterdir()}
    work = folder / "work"
    if "work" in names and not (work.is_dir() and not any(work.iterdir())):
        return False
    if not names <= {"work", "manifest.json", ".manifest.json.partial", "config.yaml", ".config.yaml.partial"}:
        return False
    manifest = read_manifest(folder)
    if manifest is None:
        return not names & {"manifest.json", "config.yaml"}
    return not manifest["finished"] and not manifest["stages"]


def files_of(folder: Path) -> set[str]:
    """Return relative paths of the run's own files: those its manifest lists, or the known names until it does."""
    manifest = read_manifest(folder)
    if manifest is None:
        return set()
    partial = {f".{name}.partial" for name in FILES}
    inside = ("work",) if manifest["finished"] else FOLDERS
    found = {path.relative_to(folder).as_posix() for name in inside for path in (folder / name).rglob("*")}
    return {*FILES, *partial, *manifest["files"], *found}


def refuse_to_replace(folder: Path, inputs: Mapping[str, Path]) -> None:
    """Raise unless the folder is a run that nothing of the new run lies in.

    Raises
    ------
    ConfigError
        When it has no manifest of ours, is the root of a file system, or is or holds the working directory or an input.
    """
    if read_manifest(folder) is None:
        raise ConfigError(
            f"{folder}: is not a run (it has no manifest.json of one), so it is not overwritten; "
            "name another directory with --out"
        )
    whole = folder.resolve()
    for name, path in {"the working directory": Path.cwd(), **inputs}.items():
        if path.resolve().is_relative_to(whole):
            raise ConfigError(
                f"{folder}: holds {name} ({path}), so it is not overwritten; name another directory with --out"
            )
    if folder.is_mount():
        raise ConfigError(f"{folder}: is a mount point and cannot be swapped; name a folder in it with --out")


class Replacement:
    """Where the new run is made, and the swap.

    Parameters
    ----------
    target:
        The run directory.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.resolve()
        name = self.target.name
        self._beside = self.target.with_name(f".{name}.causalopt-new")
        self._old = self.target.with_name(f".{name}.causalopt-old")
        self.new = self._beside / name

    def discard(self) -> None:
        """Remove what a run that died has left beside the target."""
        if self._beside.exists():
            shutil.rmtree(self._beside)

    def recover(self) -> None:
        """Finish the swap in which an earlier process died."""
        if self._old.exists():
            if not self.target.exists():
                manifest = read_manifest(self.new)
                whole = manifest is not None and manifest["finished"]
                (self.new if whole else self._old).rename(self.target)
            if self._old.exists():
                self._keep_what_is_not_ours()
        if self._beside.exists() and not any(self._beside.iterdir()):
            self._beside.rmdir()

    def swap(self) -> None:
        """Put the new run, which is finished, in the place of the old one."""
        for adapter in self.new.rglob("adapter_config.json"):  # peft notes its base by an absolute path
            text = adapter.read_text(encoding="utf-8")
            adapter.write_text(
                text.replace(json.dumps(str(self.new))[1:-1], json.dumps(str(self.target))[1:-1]), "utf-8"
            )
        if self.target.exists():
            self.target.rename(self._old)
        else:
            self.new.rename(self.target)
        self.recover()
        self.discard()

    def _keep_what_is_not_ours(self) -> None:
        """Move the user's own files from the old run to the new one; the old manifest, which tells them, goes last."""
        old = self._old
        if read_manifest(old) is None and any(path.is_file() for path in old.rglob("*")):
            raise ConfigError(f"{old}: is not what a run leaves and is in the way; move it elsewhere")
        self._keep(old, files_of(old))
        (old / "manifest.json").unlink(missing_ok=True)
        old.rmdir()

    def _keep(self, folder: Path, ours: set[str]) -> None:
        for path in sorted(folder.iterdir()):
            relative = path.relative_to(self._old).as_posix()
            is_folder = path.is_dir() and not path.is_symlink()
            if is_folder and (relative in FOLDERS or any(name.startswith(f"{relative}/") for name in ours)):
                self._keep(path, ours)
                path.rmdir()
            elif is_folder or relative not in ours:
                place = self.target / relative
                while place.exists():
                    place = place.with_name(f"{place.name}.old")
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
            elif relative != "manifest.json":
                path.unlink()
