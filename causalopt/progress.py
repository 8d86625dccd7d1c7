"""Progress of long computations: one line a stage on a terminal and in a log, nothing in a library call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

Item = TypeVar("Item")


@contextmanager
def show_progress(console: Console | None = None) -> Iterator[None]:
    """Let `track` and `stage` show progress on ``console`` (standard error by default) while the block runs.

    On a terminal the stage at work has a line with a bar, the time it has taken and the time it has left; a stage that
    is done leaves one line. Where the console is a file, only the latter are written.
    """
    display = _Display(console or Console(stderr=True))
    token = _active.set(display)
    try:
        yield
    finally:
        _active.reset(token)
        display.stop()


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Show nothing of what the block does, inside `show_progress`."""
    token = _active.set(None)
    try:
        yield
    finally:
        _active.reset(token)


def expect_stages(names: Sequence[str]) -> None:
    """Announce the stages to come, in order, so that each can be shown as the third of seven."""
    display = _active.get()
    if display is not None:
        display.expected = list(names)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Show a stage while the block runs, and leave a line with the time that it took if the block succeeds.

    Examples
    --------
    >>> import sys
    >>> from rich.console import Console
    >>> from causalopt.progress import expect_stages, show_progress, stage
    >>> with show_progress(Console(file=sys.stdout)):
    ...     expect_stages(["reference", "optimisation"])
    ...     with stage("reference"):
    ...         pass
    1 of 2 · reference · 0 s
    """
    display = _active.get()
    if display is None:
        yield
        return
    display.begin(name)
    try:
        yield
    except BaseException:
        display.leave()
        raise
    display.end()


def stage_done_before(name: str) -> None:
    """Leave a line for a stage whose result was reused."""
    display = _active.get()
    if display is not None:
        display.begin(name)
        display.end("reused")


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
    display = _active.get()
    if display is None or total == 0:  # an empty bar shows nothing
        yield from iterable
        return
    with display.work(description, total or length_hint(iterable) or None) as advance:
        for item in iterable:
            yield item
            advance(note())


def duration(seconds: float) -> str:
    """Write a duration for people.

    Examples
    --------
    >>> from causalopt.progress import duration
    >>> duration(4.4), duration(75), duration(600), duration(9000)
    ('4 s', '75 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _Count(ProgressColumn):
    """How many are done of how many; nothing where this is not known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")


class _Left(TimeRemainingColumn):
    """The time that is left; nothing where it cannot be told."""

    def render(self, task: Task) -> Text:
        known = task.total is not None and task.time_remaining is not None
        return Text.assemble(super().render(task), " left") if known else Text("")


class _Display:
    """The line of the stage at work; outside of stages, a bar for each loop."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=3)),
            BarColumn(bar_width=16),
            _Count(),
            TimeElapsedColumn(),
            _Left(),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=2)),
            console=console,
        )
        self.expected: list[str] = []
        self._begun = 0
        self._line: TaskID | None = None
        self._label = ""
        self._note = ""
        self._since = 0.0
        self._open: list[str] = []

    def begin(self, name: str) -> None:
        self._begun += 1
        number = self.expected.index(name) + 1 if name in self.expected else self._begun
        # A name is that of a comparison too, which the user chose.
        self._label = escape(f"{number} of {max(len(self.expected), number)} · {name}")
        self._note, self._since = "", time.monotonic()
        if self._progress.console.is_terminal:
            self._progress.start()
            self._line = self._progress.add_task(self._label, total=None, note="")

    def end(self, remark: str | None = None) -> None:
        taken = remark or duration(time.monotonic() - self._since)
        line = " · ".join([self._label, taken, *([escape(self._note)] if self._note else [])])
        self.leave()
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def leave(self) -> None:
        if self._line is not None:
            self._progress.remove_task(self._line)
            self._progress.refresh()
        self._line, self._label = None, ""

    @contextmanager
    def work(self, description: str, total: int | None) -> Iterator[Callable[[str], None]]:
        """Show a loop: in the stage's line if there is one, and the innermost of several by its name alone."""
        outermost = not self._open
        self._open.append(description)
        own: TaskID | None = None
        if outermost and self._line is not None:
            self._progress.reset(self._line, total=total, description=self._describe(), note="")
        elif outermost and not self._label:
            self._progress.start()  # by the first bar: without one, nothing is printed, not even an empty line
            own = self._progress.add_task(description, total=total, note="")
        shown = self._line if own is None else own

        def advance(note: str) -> None:
            self._note = note or self._note
            if outermost and shown is not None:
                self._progress.update(shown, advance=1, note=escape(note), description=self._describe())

        try:
            self._redescribe()
            yield advance
        finally:
            self._open.remove(description)
            self._redescribe()
            if outermost and self._line is not None and own is None:
                self._progress.update(self._line, total=None, note="")

    def _describe(self) -> str:
        loops = list(dict.fromkeys([self._open[0], self._open[-1]])) if self._open else []
        return " · ".join([*([self._label] if self._label else []), *map(escape, loops)])

    def _redescribe(self) -> None:
        if self._line is not None:
            self._progress.update(self._line, description=self._describe())

    def stop(self) -> None:
        if self._progress.live.is_started:
            self._progress.stop()


_active: ContextVar[_Display | None] = ContextVar("causalopt_progress", default=None)
