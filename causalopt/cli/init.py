"""``causalopt init``: a first configuration for a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from causalopt.cli.arguments import path
from causalopt.cli.console import console, escaped
from causalopt.cli.invocation import deliver, invocation, say
from causalopt.durable import write_text
from causalopt.errors import ConfigError
from causalopt.output import check_new_file


def init(
    table: Annotated[
        Path, typer.Argument(parser=path, help="Your table: CSV, JSON Lines, Excel, ...", show_default=False)
    ],
    text: Annotated[str | None, typer.Option(help="Column of the texts, if it is not found.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Column of the outcome, if it is not found.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Column of the prompts, if it is not found.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Tool that exported a feedback log, such as langfuse (docs/tables.md).")
    ] = None,
    arms: Annotated[
        str | None,
        typer.Option(help="Column of variants (of a model or a prompt) to choose among, in place of texts."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; a role that is not found is an error.")
    ] = False,
    out: Annotated[Path, typer.Option(parser=path, help="Configuration to write.")] = Path("causalopt.yaml"),
) -> None:
    """Propose a role for every column of a table, and write a first configuration of a dozen lines."""
    from causalopt.data.files import read_table
    from causalopt.data.logs import read_log
    from causalopt.data.proposal import Proposal, among_variants, propose, propose_log
    from causalopt.run.first_configuration import CHOICE, as_yaml, first_backend

    if out.exists():
        raise ConfigError(f"{out}: already exists; name another file with --out")
    check_new_file(out)
    log = None if from_ is None else read_log(from_, table)
    frame = read_table(table) if log is None else log.frame
    given = {
        role: name for role, name in (("text", text), ("outcome", outcome), ("prompt", prompt)) if name is not None
    }

    def proposed() -> Proposal:
        found = propose(frame, given, str(table)) if log is None else propose_log(log, given, str(table), str(from_))
        return found if arms is None else among_variants(found, arms, frame, str(table))

    proposal = proposed()
    while proposal.missing:
        role = proposal.missing[0]
        if yes or invocation.as_json:
            names = ", ".join(map(str, frame.columns if log is None or role != "outcome" else log.scores))
            raise ConfigError(f"{table}: no column looks like the {role}; name it with --{role}, of: {names}")
        given[role] = typer.prompt(f"Which column is the {role}? ({', '.join(map(str, frame.columns))})")
        proposal = proposed()
    backend, reason = first_backend(frame, proposal.settings) if arms is None else CHOICE
    shown = Table("column", "role", "because")
    columns = []
    roles = {value: role for role, value in proposal.settings.items() if isinstance(value, str)}
    for column, why in proposal.reasons.items():
        role = roles.get(column, "covariate" if column in proposal.settings.get("covariates", ()) else "")
        shown.add_row(escaped(column), role, escaped(why))
        columns.append({"column": column, "role": role or None, "because": why})
    console.print(shown)
    write_text(out, as_yaml(table, proposal, backend, reason))
    deliver({"out": out, "columns": columns})
    say(f"Wrote {out}. Read it, then: causalopt check {out}")
