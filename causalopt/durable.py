"""Files that are whole, on disk, and what they were when they were written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from causalopt.errors import DataError
from causalopt.output import writing

MANIFEST = "manifest.json"
EDITABLE = "config.yaml"
PLACE = "base_model_name_or_path"
"""Key of an adapter's configuration that says where its base model is: it changes when a folder is moved."""


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``target`` once the block is done and its bytes are on disk.

    A process that is killed, or a machine that loses power, leaves the earlier file or the new one. A link stays, and
    what it leads to is replaced.

    Raises
    ------
    OutputError
        If it cannot be written; the earlier file is then still there, and no part of the new one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from causalopt.durable import whole
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder) / "note.txt") as partial:
    ...         _ = partial.write_text("done")
    ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
    [('note.txt', 'done')]
    """
    real = Path(os.path.realpath(target))
    partial = real.with_name(f".{real.name[:100]}.partial")
    with writing(target):
        try:
            yield partial
            flush(partial)
            os.replace(partial, real)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        flush(real.parent)


def write_text(target: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with whole(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def flush(path: Path) -> None:
    """Force a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(path: Path) -> None:
    """Force a file, or a folder with everything in it, to disk."""
    for one in (*(path.rglob("*") if path.is_dir() else ()), path, path.parent):
        flush(one)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; of an adapter's configuration, without the place of its base model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from causalopt.durable import digest
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "empty"
    ...     file.touch()
    ...     digest(file)[:8]
    'e3b0c442'
    """
    if path.name == "adapter_config.json":
        try:
            described = json.loads(path.read_bytes())
            described.pop(PLACE, None)
        except (ValueError, AttributeError, RecursionError):  # damaged: its bytes differ from what was written
            described = None
        if described is not None:
            return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Digest of each named file, and of every file in each named folder, by its path relative to ``folder``."""
    found: dict[str, str] = {}
    for name in names:
        path = folder / name
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found |= {one.relative_to(folder).as_posix(): digest(one) for one in inside if one.is_file()}
    return found


def changed(folder: Path, written: Mapping[str, str]) -> str | None:
    """Say which file is missing or differs from what was written; None if all are as they were."""
    for name, value in written.items():
        path = folder / name
        if not path.is_file():
            return f"{path}: is missing"
        if digest(path) != value:
            return f"{path}: is not the file that was written here (SHA-256): it was damaged or changed"
    return None


def is_inside(name: str) -> bool:
    """Whether a name in a manifest is a path below the manifest's folder.

    Examples
    --------
    >>> from causalopt.durable import is_inside
    >>> [is_inside(name) for name in ("policy/adapter.bin", "../other", "/etc/passwd", "")]
    [True, False, False, False]
    """
    path = Path(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def special_file(path: Path) -> Path | None:
    """Return what is neither a regular file nor a folder, at ``path`` or below it: reading it may never end."""
    found: list[Path] = [path, *(path.rglob("*") if path.is_dir() else ())]
    return next((one for one in found if one.exists() and not one.is_file() and not one.is_dir()), None)


def check_artefact(path: Path) -> None:
    """Raise unless a file of a run is a regular file, and the one that the run wrote, by the digest in its manifest.

    Files that no manifest knows pass, and so does a configuration, which may be edited.

    Raises
    ------
    DataError
        With the file's name.
    """
    if path.is_symlink() or special_file(path) is not None:
        raise DataError(f"{path}: is a link or a special file; a run directory contains regular files alone")
    if path.name == EDITABLE:
        return
    try:
        written = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if not isinstance(written, dict) or path.name not in written:
        return
    found = changed(path.parent, {path.name: written[path.name]})
    if found is not None:
        raise DataError(f"{found}; restore it, or run again with --overwrite")
