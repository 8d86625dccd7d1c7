"""`causalopt simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalopt.cli.arguments import path
from causalopt.cli.invocation import deliver, progress, say
from causalopt.durable import write_text
from causalopt.output import check_new_file, writing
from causalopt.signatures import MOST_SEED


def simulate(
    world: Annotated[str, typer.Argument(help="A world with prompts, such as language-model.", show_default=False)],
    out: Annotated[Path, typer.Argument(parser=path, help="JSON Lines file to write.", show_default=False)],
    rows: Annotated[int, typer.Option(min=10, help="Number of rows.")] = 400,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every draw.")] = 0,
) -> None:
    """Write a chat log: prompts, answers and the ratings of simulated readers, as messages."""
    from causalopt import plugins
    from causalopt.simulation.chat_log import chat_log
    from causalopt.simulation.contracts import SimulatedWorld

    check_new_file(out)
    simulated: SimulatedWorld = plugins.worlds.create({"name": world})
    with progress(), writing(out):
        write_text(out, chat_log(simulated.sample(rows, seed)))
    deliver({"out": out, "rows": rows})
    say(f"Wrote {out}: {rows} conversations")
