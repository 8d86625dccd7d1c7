"""`causalopt frontier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from causalopt.cli.arguments import path
from causalopt.cli.console import console
from causalopt.cli.invocation import deliver, say
from causalopt.errors import ConfigError
from causalopt.output import check_new_folder, writing


def frontier(
    run_directory: Annotated[Path, typer.Argument(parser=path, help="Directory of a run.", show_default=False)],
    choose: Annotated[
        float | None, typer.Option(help="Write the policy at this KL to the reference, nats.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(parser=path, help="Folder of that policy.", show_default=False)] = None,
) -> None:
    """Show gain against KL along a run's path, or write another point of it as a policy."""
    from causalopt.cli.tables import frontier_table
    from causalopt.run.frontier import frontier_of, write_point

    if (choose is None) != (out is None):
        raise ConfigError("--choose KL and --out FOLDER belong together")
    if out is not None:
        check_new_folder(out)
    found = frontier_of(run_directory)
    console.print(frontier_table(found))
    say(found["sentence"])
    deliver({"frontier": found, "written": None})
    if choose is None or out is None:
        return
    with writing(out):
        point = write_point(run_directory, choose, out)
    band = "no band: it lies beyond the points that were estimated"
    if point.low is not None and point.high is not None:
        band = f"by the band its gain lies between {point.low:+.4g} and {point.high:+.4g}"
    written = {"directory": out, "kl": point.kl, "ci_low": point.low, "ci_high": point.high}
    deliver({"frontier": found, "written": written})
    say(f"Wrote {out}: at {point.kl:.3g} nats; {band}. It was picked after a look: it has no interval of its own.")
