"""A run in several processes (`torchrun`, `accelerate launch`): the main process estimates and writes, all train."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import distributed

from causalopt.errors import ModelError

T = TypeVar("T")

_LONGEST_STAGE = timedelta(days=7)


def is_main() -> bool:
    """Whether this process owns the run directory and the terminal; true if it is the only one."""
    return int(os.environ.get("RANK", 0)) == 0


def shared(compute: Callable[[], T]) -> T:
    """Compute a value in the main process and return it in every process; all must call this, in the same order.

    No process continues before all have the value, so that files written by the main one exist for the others.

    Parameters
    ----------
    compute:
        Called by the main process alone. Its value must be picklable if there are several processes.

    Raises
    ------
    ModelError
        In the other processes, if the main one has ended.

    Examples
    --------
    >>> from causalopt.processes import shared
    >>> shared(lambda: 1 + 1)
    2
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return compute()
    group = _group()
    value: list[Any] = [compute() if is_main() else None]
    try:
        distributed.broadcast_object_list(value, src=0, group=group)
        distributed.barrier(group)
    except RuntimeError as error:
        raise ModelError("another process of this run has ended; its error says why") from error
    result: T = value[0]
    return result


def leave() -> None:
    """Leave the process group, if there is one, at the end of a program."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


@cache
def _group() -> Any:
    """Return a process group that waits as long as a stage of the main process takes; the default one times out."""
    # Imported here: a run of one process does not need accelerate's state.
    from accelerate import PartialState

    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    PartialState(cpu=on_cpu or not torch.cuda.is_available())
    return distributed.new_group(backend="gloo", timeout=_LONGEST_STAGE)
