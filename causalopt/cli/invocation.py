"""One call of the command line: how much it prints, what it warned of, and its machine-readable result."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from causalopt import __version__
from causalopt.cli.console import console, escaped, print_warning, stderr
from causalopt.errors import CausalOptWarning, ConfigError


@dataclass
class Invocation:
    """The state of a call: the three options that every command has, the result and the warnings so far.

    Attributes
    ----------
    command:
        The verb.
    as_json:
        Standard output holds one JSON document, and nothing else.
    quiet:
        No progress and no warnings; the result alone, and errors.
    verbose:
        The detailed tables as well.
    result:
        What the JSON document holds under ``result``.
    warnings:
        Distinct messages, in the order in which they came.
    shown:
        How many of the warnings have been printed.
    """

    command: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    result: Any = None
    warnings: list[str] = field(default_factory=list)
    shown: int = 0

    def begin(self) -> None:
        """Forget an earlier call of this process."""
        vars(self).update(vars(Invocation()))
        self.as_json = "--json" in sys.argv[1:]  # known even where the arguments cannot be parsed
        console.quiet = self.as_json

    def choose(self, *, quiet: bool, verbose: bool, as_json: bool) -> None:
        """Set the options that every command has.

        Raises
        ------
        ConfigError
            If two of them contradict each other.
        """
        if quiet and verbose:
            raise ConfigError("--quiet and --verbose exclude each other")
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json
        console.quiet = as_json


invocation = Invocation()
"""The call that this process is carrying out."""


_PANEL = "Output"
_OPTIONS: dict[str, Any] = {
    "quiet": Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="No progress and no warnings: the result, and errors.", rich_help_panel=_PANEL
        ),
    ],
    "verbose": Annotated[
        bool, typer.Option("--verbose", "-v", help="Detailed tables as well.", rich_help_panel=_PANEL)
    ],
    "as_json": Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON document on standard output, and nothing else there (docs/cli.md).",
            rich_help_panel=_PANEL,
        ),
    ],
}


def with_output_options(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes ``--quiet``, ``--verbose`` and ``--json`` as well, which set `invocation`."""

    @functools.wraps(function)
    def command(*arguments: Any, **settings: Any) -> None:
        invocation.choose(**{name: settings.pop(name) for name in _OPTIONS})
        function(*arguments, **settings)

    signature = inspect.signature(function, eval_str=True)
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    command.__annotations__ = {**inspect.get_annotations(function, eval_str=True), **_OPTIONS}
    return command


def deliver(result: Any) -> None:
    """Set what the JSON document holds under ``result``: plain values, paths, dataclasses, and lists of these."""
    invocation.result = result


def say(line: str, *, highlight: bool = False) -> None:
    """Print a line of the result, which no option but ``--json`` hides; it may hold any characters."""
    console.print(escaped(line), soft_wrap=True, highlight=highlight)


def detail(renderable: RenderableType | None) -> None:
    """Print a table if ``--verbose`` asks for it, and there is one."""
    if invocation.verbose and renderable is not None:
        console.print(renderable)


def asked(renderable: RenderableType | None) -> None:
    """Print a table that the configuration asks for, if there is one; ``--quiet`` hides it."""
    if renderable is not None and not invocation.quiet:
        console.print(renderable)


@contextmanager
def progress() -> Iterator[None]:
    """Show progress on standard error while the block runs, unless ``--quiet`` asks for none."""
    from causalopt.progress import show_progress

    if invocation.quiet:
        yield
        return
    with show_progress(stderr):
        yield


def keep_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Keep a warning of causalopt for the end; those of other libraries are hidden, since users cannot mend them."""
    if issubclass(category, CausalOptWarning):
        line = " ".join(str(message).split())
        if line not in invocation.warnings:
            invocation.warnings.append(line)


def print_warnings() -> None:
    """Print each warning that has not been printed, once, as a line on standard error."""
    for line in invocation.warnings[invocation.shown :]:
        if not invocation.quiet:
            print_warning(line)
    invocation.shown = len(invocation.warnings)


def print_document(error: Mapping[str, Any] | None = None) -> None:
    """Write the JSON document of the call, if ``--json`` asks for it."""
    if not invocation.as_json:
        return
    document = {
        "command": invocation.command,
        "version": __version__,
        "ok": error is None,
        "result": invocation.result if error is None else None,
        "error": error,
        "warnings": invocation.warnings,
    }
    # Written by hand and not by rich, which would wrap it.
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    """Return what JSON can hold in place of a value that it cannot."""
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Enum):
        return value.value
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of a result")
