"""The command `causalopt design`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalopt.cli.arguments import path
from causalopt.cli.invocation import deliver, progress, say


def design(
    source: Annotated[
        Path, typer.Argument(parser=path, help="Directory of a run, or a YAML configuration.", show_default=False)
    ],
    kl: Annotated[
        float, typer.Option(min=0.001, help="Of a configuration: distance of the model from its reference, nats.")
    ] = 0.25,
) -> None:
    """Say what to randomise and log next, and how many readers an experiment needs to confirm the model."""
    from causalopt.run.config import load_config
    from causalopt.run.design import design_of_plan, design_of_run
    from causalopt.run.expectation import expect
    from causalopt.run.plan import prepare

    if source.suffix.lower() in (".yaml", ".yml"):
        plan = prepare(load_config(source))
        with progress():
            found = design_of_plan(source, expect(plan, timing=False, kl=kl), plan.config)
    else:
        found = design_of_run(source)
    deliver(found.to_dict())
    for sentence in found.sentences():
        say(sentence)
