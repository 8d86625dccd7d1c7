"""How the command line ends when something goes wrong: one line, an exit code, and nothing else."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NoReturn

from typer.core import TyperGroup

from causalopt.cli.console import escaped, leave_quietly, stderr

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Reasons for which a device takes no more."""


class Interrupted(BaseException):
    """An interruption, in a form that the library of commands does not turn into its own message."""


class Commands(TyperGroup):
    """The commands; what they raise reaches `causalopt.cli.main.main` as it is."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            leave_quietly()


def prepare_streams() -> None:
    """Let any text be printed: in a terminal without Unicode, and in a process that was started without a terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (>&-)
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (open until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(line: str, code: int) -> NoReturn:
    """Print the line and exit."""
    stderr.print(f"[bold red]error:[/] {escaped(' '.join(line.split()))}", soft_wrap=True, highlight=False)
    sys.exit(code)


def kept_traceback(error: BaseException) -> str:
    """Write a traceback to a new file in the temporary folder; return its path, or the text if there is no room."""
    text = "".join(traceback.format_exception(error))
    try:
        descriptor, name = tempfile.mkstemp(prefix="causalopt-traceback-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
    except OSError:
        return f"what follows, since no file could be written: {text}"
    return name
