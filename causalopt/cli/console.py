"""Consoles to which the command line prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from causalopt.errors import CausalOptWarning

console = Console()
stderr = Console(stderr=True)


def escaped(text: str) -> str:
    """Escape the text so that brackets in it are printed literally."""
    return escape(text)


def show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print a warning of causalopt as one line; those of other libraries are hidden, since users cannot fix them."""
    if issubclass(category, CausalOptWarning):
        line = escaped(" ".join(str(message).split()))
        stderr.print(f"[yellow]warning:[/] {line}", soft_wrap=True, highlight=False)
