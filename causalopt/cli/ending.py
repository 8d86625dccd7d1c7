"""How the command line ends when something goes wrong: one line, an exit code, and nothing else."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from causalopt.cli.console import escaped, leave_quietly, stderr
from causalopt.cli.examples import epilog
from causalopt.cli.invocation import invocation, print_document, print_warnings, with_output_options

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Reasons for which a device takes no more."""


class Interrupted(BaseException):
    """An interruption, in a form that the library of commands does not turn into its own message."""


UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What a wrong command line raises; typer may bring its own copy of click."""


class Application(typer.Typer):
    """An application whose commands all have the options of `with_output_options`, and their examples in the help."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:  # type: ignore[override]
        def register(function: Callable[..., None]) -> Callable[..., None]:
            settings.setdefault("epilog", epilog(name or function.__name__))
            super(Application, self).command(name, **settings)(with_output_options(function))
            return function

        return register


class Commands(TyperGroup):
    """The commands; what they raise reaches `causalopt.cli.main.main` as it is."""

    def invoke(self, ctx: Any) -> Any:
        invocation.begin()
        try:
            result = super().invoke(ctx)
        except UsageError as error:
            print_document({"kind": "UsageError", "message": error.format_message(), "exit_code": 2})  # type: ignore[attr-defined]
            raise
        except KeyboardInterrupt:
            raise Interrupted from None
        except BrokenPipeError:
            leave_quietly()
        print_warnings()
        print_document()
        return result

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        invocation.command = name
        return name, command, rest


def prepare_streams() -> None:
    """Let any text be printed: in a terminal without Unicode, and in a process that was started without a terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (>&-)
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (open until the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def fail(line: str, code: int, kind: str) -> NoReturn:
    """Print what was warned of and the line, and exit; ``kind`` is the name of the error in the JSON document."""
    print_warnings()
    print_document({"kind": kind, "message": " ".join(line.split()), "exit_code": code})
    sys.stdout.flush()
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
