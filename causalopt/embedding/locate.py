"""The location of a pretrained model: a folder, an installed package, or a hub."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from causalopt.errors import ModelError
from causalopt.output import impossible, shown_path


def local_folder(model: str) -> Path | None:
    """Return the folder with the model's files, or None if ``model`` must be a hub id.

    Parameters
    ----------
    model:
        A folder, or the name of an installed package that holds a model, which is found without importing it.

    Raises
    ------
    ModelError
        For a path to a folder that does not exist, and for a package that holds no model.

    Examples
    --------
    >>> from causalopt.embedding.locate import local_folder
    >>> local_folder("sentence-transformers/all-MiniLM-L6-v2") is None
    True
    """
    reason = impossible(model)
    if reason is not None:
        raise ModelError(f"model {shown_path(model)}: {reason}; name a folder, a package or a hub id")
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        raise ModelError(f"model {model!r}: there is no such folder")
    return _inside_package(model)


def _inside_package(name: str) -> Path | None:
    module = name.replace("-", "_").lower()
    spec = find_spec(module) if module.isidentifier() and module != "__main__" else None
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    # A sentence encoder has a config.json in its subfolders too: modules.json, or the shortest path, marks its root.
    for mark in ("modules.json", "config.json"):
        found = sorted(root.rglob(mark), key=lambda file: (len(file.parts), file))
        if found:
            return found[0].parent
    raise ModelError(f"model {name!r}: the package of that name holds no model (no modules.json or config.json in it)")
