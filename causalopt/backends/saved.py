"""A saved policy names its backend and is loaded by it, including backends from plugins."""

from __future__ import annotations

import json
from pathlib import Path

from causalopt import plugins
from causalopt.backends.contracts import Backend, Policy
from causalopt.doors import check_type
from causalopt.errors import ModelError, one_line
from causalopt.output import impossible, shown_path, write_whole
from causalopt.signatures import shown

NOTE = "causalopt_backend.json"
"""File in a saved policy's folder with the name under which its backend is registered."""


def name_backend(directory: str | Path, backend: str) -> None:
    """Record the backend of a policy in the folder that it was saved to; the last step of a policy's `save`.

    Examples
    --------
    >>> import tempfile
    >>> from causalopt.backends.saved import backend_of, name_backend
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name_backend(folder, "finite")
    ...     backend_of(folder)
    'finite'
    """
    write_whole(Path(directory) / NOTE, json.dumps({"backend": backend}) + "\n")


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
    try:
        name = json.loads(note.read_text(encoding="utf-8"))["backend"]
        if not isinstance(name, str):
            raise TypeError(f"its 'backend' is {shown(name)}")
        return name
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{note}: does not name a backend ({one_line(error)}); save the policy again") from error


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
        If there is no such policy.
    """
    check_type("a policy", source, (str, Path), "named by a folder or a hub id")
    backend: type[Backend] = plugins.backends.get(backend_of(source))
    return backend.load_policy(source, cache)
