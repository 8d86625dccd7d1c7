"""A saved policy names its backend and is loaded by it, including backends from plugins."""

from __future__ import annotations

import json
from pathlib import Path

from causalopt import plugins
from causalopt.backends.contracts import Backend, Policy
from causalopt.doors import check_type
from causalopt.durable import changed, digests, is_inside, special_file, write_text
from causalopt.errors import ModelError, one_line
from causalopt.output import impossible, shown_path
from causalopt.signatures import shown

NOTE = "causalopt_backend.json"
"""File in a saved policy's folder with the name of its backend and the digests of its files."""
FOR_READERS = "README.md"
"""The model card, which may be edited."""


def name_backend(directory: str | Path, backend: str) -> None:
    """Record the backend of a policy, and what its files are, in the folder that it was saved to.

    It is the last step of a policy's `save`; what is written after it is not checked by `load_policy`.

    Examples
    --------
    >>> import tempfile
    >>> from causalopt.backends.saved import backend_of, name_backend
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name_backend(folder, "finite")
    ...     backend_of(folder)
    'finite'
    """
    folder = Path(directory)
    names = sorted(path.name for path in folder.iterdir() if path.name not in (NOTE, FOR_READERS))
    noted = {"backend": backend, "sha256": digests(folder, names)}
    write_text(folder / NOTE, json.dumps(noted, indent=1) + "\n")


def backend_of(source: str | Path) -> str:
    """Return the backend recorded in a policy's folder, or "huggingface" for models and adapters from elsewhere.

    Raises
    ------
    ModelError
        If the file cannot be read.
    """
    reason = impossible(source)
    if reason is not None:
        raise ModelError(f"{shown_path(source)}: {reason}; name a policy")
    if Path(source).is_symlink() and not Path(source).exists():
        raise ModelError(f"{source}: is a link to {Path(source).readlink()}, which does not exist; name a policy")
    note = Path(source) / NOTE
    if not note.exists():
        return "huggingface"
    if not note.is_file():
        raise ModelError(f"{note}: is not a regular file; save the policy again")
    try:
        name = json.loads(note.read_text(encoding="utf-8"))["backend"]
        if not isinstance(name, str):
            raise TypeError(f"its 'backend' is {shown(name)}")
        return name
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{note}: does not name a backend ({one_line(error)}); save the policy again") from error


def check_saved(source: str | Path) -> None:
    """Raise unless a policy's files are those that were written; of folders from elsewhere, digests are not known.

    Raises
    ------
    ModelError
        With the file's name.
    """
    folder = Path(source)
    special = special_file(folder)
    if special is not None:
        raise ModelError(f"{special}: is not a regular file; a policy's folder contains regular files alone")
    try:
        written = json.loads((folder / NOTE).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if not (isinstance(written, dict) and all(isinstance(name, str) and is_inside(name) for name in written)):
        raise ModelError(f"{folder / NOTE}: 'sha256' does not name files of this folder; save the policy again")
    found = changed(folder, written)
    if found is not None:
        raise ModelError(f"{found}; save the policy again, or, if you changed it, delete 'sha256' in {folder / NOTE}")


def load_policy(source: str | Path, cache: Path | None = None) -> Policy:
    """Load a policy from a folder that a backend saved, a PEFT adapter, a full model folder, or a hub id.

    Parameters
    ----------
    source:
        The folder, or a hub id.
    cache:
        Folder in which the policy may store computed values, so that no log-probability is computed twice.

    Raises
    ------
    ConfigError
        If the backend that the folder names is not installed.
    ModelError
        If there is no such policy, or a file in its folder is not what was written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import causalopt as co
    >>> from causalopt.backends.finite import FinitePolicy
    >>> policy = FinitePolicy(["Call us.", "Write to us."], np.log([0.25, 0.75]), np.zeros((2, 1)), np.zeros(1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     policy.save(folder)
    ...     loaded = co.load_policy(folder)
    >>> np.exp(loaded.log_prob(None, ["Write to us."])).round(2).tolist()
    [0.75]
    """
    check_type("a policy", source, (str, Path), "named by a folder or a hub id")
    backend: type[Backend] = plugins.backends.get(backend_of(source))
    check_saved(source)
    return backend.load_policy(source, cache)
