"""Replacement of an earlier run: built beside it and swapped in when complete; the next start finishes a killed swap.

In the folder of ``NAME``, ``.NAME.causalopt-new/NAME`` is the run in progress and, during the swap,
``.NAME.causalopt-old`` is the earlier run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causalopt.durable import flush, special_file
from causalopt.errors import ConfigError

MARK = "causalopt_run"
"""Key of the manifest that marks the folder as a run; its value is the version of the layout."""
FILES = (
    "config.yaml",
    "manifest.json",
    "pseudo_outcomes.parquet",
    "objective_texts.parquet",
    "samples.parquet",
    "frontier.parquet",
    "training.jsonl",
    "metrics.json",
    "report.html",
)
COMPARISONS = "comparisons"
"""Folder with a folder for the policy of each comparison."""
WORK = ".work"
"""Folder with what is kept until the end of the run, to resume it."""
EVENTS = "tensorboard"
"""Folder with a folder for the TensorBoard events of each fit, if ``report_to`` asks for them."""
ENDS = "ends"
"""Folder with a folder for the end of each fit that constraints penalise."""
FOLDERS = ("reference", "policy", "end", ENDS, COMPARISONS, EVENTS, WORK)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a run, finished or not; None if the folder is not a causalopt run."""
    path = folder / "manifest.json"
    if path.is_symlink() or not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return manifest if _is_of_a_run(manifest) else None


def _is_of_a_run(manifest: Any) -> bool:
    kinds: dict[str, Any] = {"finished": bool, "stages": list, "files": (list, dict)}
    return (
        isinstance(manifest, dict)
        and MARK in manifest
        and all(isinstance(manifest.get(key), kind) for key, kind in kinds.items())
    )


def run_of(path: Path) -> Path:
    """Return the run that a policy belongs to, given RUN, RUN/policy or RUN/comparisons/NAME; else ``path`` itself."""
    for folder in (path, *list(path.parents)[:2]):
        if (folder / "config.yaml").is_file() and read_manifest(folder) is not None:
            return folder
    return path


def is_half_made(folder: Path) -> bool:
    """Whether a folder holds files of a run alone, and no manifest that can be read: its writer lost power."""
    if not folder.is_dir() or not (folder / "config.yaml").is_file():
        return False
    manifest = folder / "manifest.json"
    try:
        if manifest.is_symlink() or special_file(manifest) is not None:
            return False
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if _is_of_a_run(found) or not (isinstance(found, dict) and MARK in found):
            return False  # whole, or of another program
    except (OSError, ValueError, RecursionError):
        pass
    known = {*FILES, *(f".{name}.partial" for name in FILES), *FOLDERS}
    return {path.name for path in folder.iterdir()} <= known


def holds_nothing_yet(folder: Path) -> bool:
    """Whether a folder is absent, empty, or left by a run that died before its first stage."""
    if not folder.exists():
        return True
    names = {path.name for path in folder.iterdir()}
    work = folder / WORK
    if WORK in names and not (work.is_dir() and not any(work.iterdir())):
        return False
    if not names <= {WORK, "manifest.json", ".manifest.json.partial", "config.yaml", ".config.yaml.partial"}:
        return False
    manifest = read_manifest(folder)
    if manifest is None:
        return not names & {"manifest.json", "config.yaml"}
    return not manifest["finished"] and not manifest["stages"] and not manifest.get("ahead")


def files_of(folder: Path) -> set[str]:
    """Return relative paths of the run's own files, from its manifest or, in an unfinished run, by the known names."""
    manifest = read_manifest(folder)
    if manifest is None:
        return set()
    partial = {f".{name}.partial" for name in FILES}
    inside = (WORK,) if manifest["finished"] else FOLDERS
    found = {path.relative_to(folder).as_posix() for name in inside for path in (folder / name).rglob("*")}
    stages = (name for stage in manifest["stages"] if isinstance(stage, dict) for name in stage.get("files", ()))
    return {*FILES, *partial, *manifest["files"], *stages, *found}


def refuse_links(folder: Path) -> None:
    """Raise if a run to be continued has a link in the place of one of its files, which would be followed."""
    for name in (*FILES, *FOLDERS):
        path = folder / name
        for one in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
            if one.is_symlink():
                raise ConfigError(f"{one}: is a link, which a run does not write through; replace it by what it names")


def refuse_to_replace(folder: Path, inputs: Mapping[str, Path]) -> None:
    """Raise unless the folder is a run that contains nothing that the new run needs.

    Raises
    ------
    ConfigError
        If it has no manifest of a run, is a mount point, or is or contains the working directory or an input.
    """
    if read_manifest(folder) is None:
        raise ConfigError(
            f"{folder}: is not a run (it has no manifest.json of a run), so it is not overwritten; "
            "name another directory with --out"
        )
    whole = folder.resolve()
    for name, path in {"the working directory": Path.cwd(), **inputs}.items():
        if path.resolve().is_relative_to(whole):
            raise ConfigError(
                f"{folder}: contains {name} ({path}), so it is not overwritten; name another directory with --out"
            )
    if folder.is_mount():
        raise ConfigError(f"{folder}: is a mount point and cannot be swapped; name a folder in it with --out")


class Replacement:
    """The folder in which the new run is built, and the swap.

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
        """Remove the files that a killed run has left beside the target."""
        if self._beside.exists():
            shutil.rmtree(self._beside)

    def recover(self) -> None:
        """Finish a swap during which an earlier process was killed."""
        if self._old.exists():
            if not self.target.exists():
                manifest = read_manifest(self.new)
                whole = manifest is not None and manifest["finished"]
                (self.new if whole else self._old).rename(self.target)
                flush(self.target.parent)  # before any file of the old run is removed
            if self._old.exists():
                self._keep_what_is_not_ours()
        if self._beside.exists() and not any(self._beside.iterdir()):
            self._beside.rmdir()

    def swap(self) -> None:
        """Replace the old run by the new one, which is finished."""
        if self.target.exists():
            self.target.rename(self._old)
        else:
            self.new.rename(self.target)
        flush(self.target.parent)
        self.recover()
        self.discard()

    def _keep_what_is_not_ours(self) -> None:
        """Move the user's own files to the new run; the old manifest, which identifies them, is deleted last."""
        old = self._old
        if read_manifest(old) is None and any(path.is_file() for path in old.rglob("*")):
            raise ConfigError(f"{old}: is not a run and is in the way; move it elsewhere")
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
