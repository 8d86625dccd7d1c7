"""Models that are read once in a process, and whose weights all of their copies share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from transformers import PreTrainedModel

_ATTRIBUTE = "_causalopt_origin"


class _Origin:
    """A model as its files have it. Copies refer to it, so that it is forgotten together with the last of them."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def copy(self) -> PreTrainedModel:
        """Return a model with modules and a configuration of its own, and the same weights."""
        shared = {id(tensor): tensor for tensor in (*self.model.parameters(), *self.model.buffers())}
        copied: PreTrainedModel = copy.deepcopy(self.model, shared)
        for module in (copied, copied.base_model):
            module.__dict__[_ATTRIBUTE] = self
        return copied

    def __deepcopy__(self, memo: object) -> _Origin:
        return self


_origins: WeakValueDictionary[tuple[object, ...], _Origin] = WeakValueDictionary()


def read_once(key: tuple[object, ...], read: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """Return a copy of a frozen model that shares its weights with all copies that are in use.

    Parameters
    ----------
    key:
        Everything that determines the weights and how they are computed with.
    read:
        Reads the model; called if no copy of it is in use. No copy's weights may be changed afterwards.
    """
    origin = _origins.get(key)
    if origin is None:
        _origins[key] = origin = _Origin(read())
    return origin.copy()


def leave_origin(model: PreTrainedModel) -> None:
    """Let a model whose weights are copies no longer keep those that it was copied from in memory."""
    for module in (model, model.base_model):
        module.__dict__.pop(_ATTRIBUTE, None)


def files_of(folder: Path) -> tuple[object, ...]:
    """Return names, sizes and times of the files of a folder: what is written anew is another model."""
    facts = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return (str(folder.resolve()), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in facts))
