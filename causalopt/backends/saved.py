"""A saved policy names its backend and is loaded by it, including backends from plugins."""

from __future__ import annotations

import json
from pathlib import Path

from causalopt import plugins
from causalopt.backends.contracts import Backend, Policy
from causalopt.errors import ModelError

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
    (Path(directory) / NOTE).write_text(json.dumps({"backend": backend}) + "\n", encoding="utf-8")


def backend_of(source: str | Path) -> str:
    """Return the backend recorded in a policy's folder, or "huggingface" for models and adapters from elsewhere.

    Raises
    ------
    ModelError
        If the file cannot be read.
    """
    note = Path(source) / NOTE
    if not note.is_file():
        return "huggingface"
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{note}: does not name a backend ({error}); save the policy again") from error


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
    backend: type[Backend] = plugins.backends.get(backend_of(source))
    return backend.load_policy(source, cache)
