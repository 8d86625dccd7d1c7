"""A stage of a run, identified by everything that its result depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import platform
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import causalopt

T = TypeVar("T")

LIBRARIES = ("econml", "lightgbm", "numpy", "pandas", "peft", "scikit-learn", "scipy", "torch", "transformers")
_LARGEST = 64 << 20
_OF_THIS_PROCESS = uuid.uuid4().hex


@dataclass(frozen=True)
class Stage(Generic[T]):
    """What a stage does, what its result depends on, and how the result is read back.

    Attributes
    ----------
    name:
        Its name, unique in the run.
    inputs:
        Everything that determines its result, as plain values: settings, digests of data, keys of earlier stages.
    compute:
        Computes the result and writes the stage's files.
    files:
        Files and folders that the stage leaves, relative to the run directory.
    load:
        Reads the result from them; None if it cannot.
    """

    name: str
    inputs: Mapping[str, Any]
    compute: Callable[[], T]
    files: tuple[str, ...]
    load: Callable[[], T | None]

    @property
    def key(self) -> str:
        """SHA-256 of the inputs, in hexadecimal."""
        return digest_of({"stage": self.name, **self.described})

    @property
    def described(self) -> dict[str, str]:
        """The inputs, each as JSON: as they stand in the manifest."""
        return {name: _json(value) for name, value in self.inputs.items()}


@dataclass(frozen=True)
class StageRecord:
    """A finished stage, as it stands in the manifest.

    Attributes
    ----------
    name, key, inputs:
        See `Stage`.
    files:
        SHA-256 of each file that the stage left.
    seconds, peak_memory_mb:
        What it cost.
    cpu_seconds:
        Time of the processor that this process used; 0 in a manifest of an earlier version.
    warnings:
        What it warned of.
    reused:
        Whether an earlier process computed it.
    changed:
        Inputs that differ from those of an earlier result, which was therefore not reused.
    """

    name: str
    key: str
    inputs: dict[str, str]
    files: dict[str, str]
    seconds: float
    peak_memory_mb: int
    warnings: list[str] = field(default_factory=list)
    reused: bool = False
    changed: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of inputs that differ, in order.

    Examples
    --------
    >>> from causalopt.run.stages import differing
    >>> differing({"seed": "0", "data": '"a"'}, {"seed": "1", "data": '"a"'})
    ['seed']
    """
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def reuse_sentence(stages: Sequence[StageRecord]) -> str | None:
    """Say which stages of a run were reused, and what has changed in the others; None if all were computed.

    Examples
    --------
    >>> from causalopt.run.stages import StageRecord, reuse_sentence
    >>> reference = StageRecord("reference policy", "", {}, {}, 1.0, 1, reused=True)
    >>> print(reuse_sentence([reference, StageRecord("evaluation", "", {}, {}, 1.0, 1, changed=["evaluation"])]))
    Reused: reference policy. Computed again: evaluation (another evaluation).
    """
    reused = [stage.name for stage in stages if stage.reused]
    if not reused:
        return None
    again = [
        f"{stage.name} (another {', '.join(stage.changed)})" if stage.changed else stage.name
        for stage in stages
        if not stage.reused
    ]
    return f"Reused: {', '.join(reused)}." + (f" Computed again: {', '.join(again)}." if again else "")


def digest_of(value: Any) -> str:
    """SHA-256 of a value's JSON, in hexadecimal."""
    return hashlib.sha256(_json(value).encode()).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


@cache
def code() -> dict[str, str]:
    """Digest of this package's source, and versions of the libraries that its numbers depend on."""
    found = hashlib.sha256()
    root = Path(inspect.getfile(causalopt)).parent
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"causalopt": found.hexdigest(), "python": platform.python_version(), **versions}


def source_of(made: Callable[..., Any]) -> str:
    """Digest of what defines a part, so that a plugin that was edited is another part.

    Of a package, all of its modules; this one's are in `code`. What has no source file, such as a cell of a notebook,
    is of this process alone: it may have been edited.
    """
    package = made.__module__.partition(".")[0]
    if package == causalopt.__name__:
        return made.__module__
    try:
        file = Path(str(inspect.getsourcefile(made)))
        inside = [folder for folder in file.parents if folder.name == package and (folder / "__init__.py").is_file()]
        found = hashlib.sha256()
        for path in sorted(inside[0].rglob("*.py")) if inside else [file]:
            found.update(path.read_bytes())
        return found.hexdigest()
    except (TypeError, OSError):
        return _OF_THIS_PROCESS


def content_of(path: Path) -> str:
    """Digest of an input: of a small file its bytes; of a large one its size and time; of a folder, all of its files.

    Weights of a model may take minutes to read, and their size and time change when they are written anew.
    """
    found = hashlib.sha256()
    for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not one.is_file():
            continue
        facts = one.stat()
        found.update(f"{one.relative_to(path).as_posix()}\0{facts.st_size}\0".encode())
        found.update(one.read_bytes() if facts.st_size <= _LARGEST else str(facts.st_mtime_ns).encode())
    return found.hexdigest()
