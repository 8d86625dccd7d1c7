"""The command `causalopt survey`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from causalopt.cli.arguments import path
from causalopt.cli.console import console, escaped
from causalopt.cli.invocation import deliver, print_warnings, say
from causalopt.durable import write_text
from causalopt.errors import ConfigError
from causalopt.output import check_new_file


def survey(
    file: Annotated[Path, typer.Argument(parser=path, help="A table of answers.", show_default=False)],
    item: Annotated[str | None, typer.Option(help="Column of the items that were rated; 'item' by default.")] = None,
    rater: Annotated[str, typer.Option(help="Column of the raters.")] = "rater",
    answer: Annotated[str, typer.Option(help="Column of the answers: A, B or tie; numbers; or words.")] = "answer",
    raters: Annotated[
        list[str] | None,
        typer.Option(help="A column that holds a rater's answers (repeatable), in a table with one for each."),
    ] = None,
    system_a: Annotated[str | None, typer.Option(help="Column with the system that A is in each row.")] = None,
    system_b: Annotated[str | None, typer.Option(help="Column with the system that B is in each row.")] = None,
    judge: Annotated[str | None, typer.Option(help="Column of a judge's score, or preference, of the item.")] = None,
    scale: Annotated[str | None, typer.Option(help="nominal, ordinal or interval; found from the answers.")] = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    out: Annotated[Path | None, typer.Option(parser=path, help="Also write all numbers as JSON to this file.")] = None,
) -> None:
    """Evaluate a survey of human raters: win rates, majority votes, agreement, and a judge beside the raters."""
    from causalopt.run.survey import Survey, SurveyColumns
    from causalopt.run.survey import survey as evaluate

    if out is not None:
        check_new_file(out)
        if out.exists() and not _is_survey(out):
            raise ConfigError(
                f"{out}: already exists and is not the output of an earlier --out, so it is not overwritten; "
                "name another file with --out"
            )
    columns = SurveyColumns(item, rater, answer, tuple(raters) if raters else None, system_a, system_b, judge)
    found: Survey = evaluate(file, columns, scale=scale, level=level)
    deliver({**found.to_dict(), "out": out})
    print_warnings()
    console.print(f"{found.answers:,} answers of {found.raters:,} raters to {found.items:,} items", highlight=False)
    of_level = f"{100 * level:g}% interval"
    if found.wins is not None:
        table = Table("system", "over", "win rate", of_level, "ties", "answers", "items", "raters", title="Win rates")
        for row in found.wins.to_dict(orient="records"):
            counts = (f"{row[name]:,}" for name in ("answers", "items", "raters"))
            bounds = _interval(row["ci_low"], row["ci_high"])
            rate, ties = f"{row['win_rate']:.3f}", f"{row['ties']:.0%}"
            table.add_row(escaped(row["system"]), escaped(row["over"]), rate, bounds, ties, *counts)
        table.caption = "a tie is half a win; intervals are clustered by item and rater"
        console.print(table)
    table = Table("agreement", "value", of_level, "items", "by")
    for row in found.agreement.table.to_dict(orient="records"):
        bounds = _interval(row["ci_low"], row["ci_high"])
        value = f"{row['value']:.3f}" if math.isfinite(row["value"]) else "–"
        table.add_row(row["measure"], value, bounds, f"{row['items']:,}", row["by"])
    console.print(table)
    for name, reason in found.agreement.left_out.items():
        say(f"Not computed: {name}: {reason}")
    clear = int(found.majority["majority"].notna().sum())
    console.print(
        f"Majority: {clear:,} of {found.items:,} items have one; its mean share is "
        f"{found.majority['share'].mean():.0%} of an item's answers.",
        soft_wrap=True,
        highlight=False,
    )
    for one in found.judge:
        console.print(
            f"Judge and raters: {one.name} {one.value:.3f} ({of_level} {_interval(one.ci_low, one.ci_high)}, "
            f"{one.items:,} items)",
            soft_wrap=True,
            highlight=False,
        )
    if out is not None:  # last: a disk that is full costs the file, not the numbers
        write_text(out, json.dumps(found.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        say(f"Wrote {out}")


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if math.isfinite(low) and math.isfinite(high) else "–"


def _is_survey(out: Path) -> bool:
    try:
        found = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"win_rates", "agreement", "majority"} <= found.keys()
