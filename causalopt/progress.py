"""Progress of long computations: one bar on a terminal, one line per stage elsewhere, nothing in a library call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

_active: ContextVar[Progress | None] = ContextVar("causalopt_progress", default=None)


@contextmanager
def show_progress(console: Console | None = None) -> Iterator[None]:
    """Let `track` draw bars on ``console`` (standard error by default) while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=console or Console(stderr=True))
    token = _active.set(progress)
    try:
        yield
    finally:
        _active.reset(token)
        if progress.live.is_started:
            progress.stop()


def track(
    iterable: Iterable[Item], description: str, total: int | None = None, note: Callable[[], str] = str
) -> Iterator[Item]:
    """Yield the items, and show how many are done if inside `show_progress`; ``note()`` is shown beside the bar.

    Examples
    --------
    >>> from causalopt.progress import track
    >>> sum(track([1, 2, 3], "adding"))
    6
    """
    progress = _active.get()
    if progress is None or total == 0:  # an empty bar shows nothing
        yield from iterable
    else:
        progress.start()  # by the first bar: without one, nothing is printed, not even an empty line
        task = progress.add_task(description, total=total or length_hint(iterable) or None, note="")
        for item in iterable:
            yield item
            progress.update(task, advance=1, note=note())
