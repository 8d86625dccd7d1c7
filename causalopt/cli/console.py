"""Consoles to which the command line prints."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape


def leave_quietly() -> NoReturn:
    """Exit without a word: whoever read the output, ``head`` for one, has seen enough."""
    # What is left in the buffer must not raise once more when the interpreter closes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(128 + 13)


class _Output(Console):
    """Standard output, which may be closed by its reader before all is written."""

    def on_broken_pipe(self) -> None:
        leave_quietly()


console = _Output()
stderr = Console(stderr=True)


def escaped(text: str) -> str:
    r"""Escape the text so that brackets in it are printed literally, and so that it cannot steer the terminal.

    Examples
    --------
    >>> from causalopt.cli.console import escaped
    >>> print(escaped("\x1b[31m [/red] [b]"))
    \x1b[31m \[/red] \[b]
    """
    visible = "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)
    return escape(visible)


def print_warning(line: str) -> None:
    """Print a warning on standard error, as one line."""
    stderr.print(f"[yellow]warning:[/] {escaped(line)}", soft_wrap=True, highlight=False)
