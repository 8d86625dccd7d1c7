"""The command `causalopt runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from causalopt.cli.arguments import path
from causalopt.cli.console import console, escaped
from causalopt.cli.invocation import deliver, invocation, say

BRIEF = ("run", "data", "objective", "difference", "interval", "effective", "KL", "verdict")
"""Columns that fit on a terminal; --verbose and the page show all."""


def runs(
    folder: Annotated[Path, typer.Argument(parser=path, help="Folder with the directories of runs.")] = Path("runs"),
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Also write the table as an HTML page to this file.")
    ] = None,
) -> None:
    """Show several runs in one table, and say which of them cannot be compared, why, and how they could be."""
    from causalopt.run.catalogue import HEAD, catalogue, cells, write_page

    found = catalogue(folder)
    deliver({**found.to_dict(), "out": out})
    columns = [i for i, name in enumerate(HEAD) if invocation.verbose or name in BRIEF]
    table = Table(*(HEAD[i] for i in columns))
    for one in found.runs:
        shown = cells(one, folder)
        table.add_row(*(escaped(shown[i]) for i in columns))
    if found.runs:
        console.print(table)
    else:
        say(f"{folder}: holds no finished run")
    for unfinished in found.unfinished:
        say(f"{unfinished}: not finished; causalopt run CONFIG --out {unfinished} --resume continues it")
    for remark in found.remarks() if not invocation.quiet else ():
        say(remark)
    if out is not None:
        write_page(found, out)
        say(f"Wrote {out}")
