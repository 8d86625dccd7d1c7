"""The command `causalopt choose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from causalopt.cli.arguments import path
from causalopt.cli.console import console, escaped, stderr
from causalopt.cli.invocation import deliver, invocation, say
from causalopt.durable import write_text
from causalopt.errors import ConfigError
from causalopt.messages import readable
from causalopt.output import check_new_file

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 40
"""Largest number of candidates that are printed."""


def choose(
    run_directory: Annotated[Path, typer.Argument(parser=path, help="Directory of a run.", show_default=False)],
    candidates: Annotated[
        Path,
        typer.Argument(parser=path, help="Table of candidates: a column of texts, and of prompts.", show_default=False),
    ],
    out: Annotated[Path | None, typer.Option(parser=path, help="Write the ranking to this CSV file.")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
) -> None:
    """Rank candidate texts within each prompt: the policy's probability, and the predicted effect of each text."""
    from causalopt.run.choose import choose as rank

    if out is not None:
        check_new_file(out)
        if out.resolve() == candidates.resolve():
            raise ConfigError(f"{out}: is the table of candidates; name another file with --out")
        if out.exists() and not _is_ranking(out):
            raise ConfigError(
                f"{out}: already exists and is not the output of an earlier --out, so it is not overwritten; "
                "name another file with --out"
            )
    found = rank(run_directory, candidates, level=level)
    deliver({"candidates": _records(found), "out": out})
    interval = f"{100 * level:g}% interval"
    named = "prompt" in found
    table = Table(*(["prompt"] if named else []), "rank", "text", "probability", "score", interval, "readings")
    for row in found.head(SHOWN).to_dict(orient="records"):
        numbers = f"{row['probability']:.3f}", f"{row['score']:+.3g}", f"{row['ci_low']:+.3g} to {row['ci_high']:+.3g}"
        first = [escaped(readable(row["prompt"]))] if named else []
        table.add_row(*first, str(row["rank"]), escaped(row["text"]), *numbers, f"{row['readings']:g}")
    table.caption = (
        "score: predicted outcome minus the mean over the candidates of the prompt; readings: exposure of the text in "
        "the training rows, by which it is judged too"
    )
    console.print(table)
    if len(found) > SHOWN and not invocation.quiet:
        stderr.print(f"{SHOWN} of {len(found)} candidates are shown" + ("" if out else "; --out writes all of them"))
    if out is not None:  # last: a disk that is full costs the file, not the numbers
        write_text(out, found.to_csv(index=False))
        say(f"Wrote {out}")


def _records(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows, with what is not known as null."""
    known = found.astype(object).where(found.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in known.to_dict(orient="records")]


def _is_ranking(out: Path) -> bool:
    """Whether a file begins as a ranking does, so that a new one may replace it."""
    from causalopt.run.choose import COLUMNS

    try:
        with out.open(encoding="utf-8") as stream:
            return set(COLUMNS) <= set(stream.readline().strip().split(","))
    except (OSError, UnicodeDecodeError):
        return False
