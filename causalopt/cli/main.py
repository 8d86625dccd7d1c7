"""The command line; the commands that estimate values are in `causalopt.cli.estimate`."""

from __future__ import annotations

import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from causalopt import __version__
from causalopt.cli.arguments import path
from causalopt.cli.choose import choose
from causalopt.cli.console import console, escaped, leave_quietly, show_warning, stderr
from causalopt.cli.ending import FULL, Commands, Interrupted, fail, kept_traceback, prepare_streams
from causalopt.cli.estimate import compare, estimate, evaluate
from causalopt.cli.export import export
from causalopt.cli.frontier import frontier
from causalopt.cli.generate import generate
from causalopt.cli.init import init
from causalopt.cli.simulate import simulate
from causalopt.cli.survey import survey
from causalopt.errors import CausalOptError, CausalOptWarning, ConfigError, one_line
from causalopt.output import check_new_folder, writing

app = typer.Typer(
    cls=Commands,
    help="Optimise language models on direct outcome data, as a causal problem.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ConfigArgument = Annotated[
    Path, typer.Argument(parser=path, help="YAML configuration, see configs/.", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key: section.key=value (repeatable).", show_default=False)
]
RunArgument = Annotated[Path, typer.Argument(parser=path, help="Directory of a run.", show_default=False)]


def main() -> None:
    """Run the command line: whatever goes wrong is one line on standard error, and so is each warning.

    The exit code is 2 for an error that a user can mend, 1 for a fault of causalopt, whose traceback is kept in a file
    that the line names, 130 after an interruption, and 141 if nobody reads the standard output any more.
    """
    warnings.showwarning = show_warning
    prepare_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except CausalOptError as error:
        fail(str(error), 2)
    except (KeyboardInterrupt, Interrupted):
        fail("interrupted", 130)
    except BrokenPipeError:
        leave_quietly()
    except MemoryError as error:
        fail(f"memory is not enough ({one_line(error)}): use fewer rows, texts, draws or dimensions", 2)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:  # of standard output, which may be a file
            fail(f"the output cannot be written: {one_line(error)}; make room on that disk", 2)
        fail(f"this is a fault of causalopt ({one_line(error)}); its traceback is in {kept_traceback(error)}", 1)


@app.command()
def run(
    config: ConfigArgument,
    out: Annotated[Path | None, typer.Option(parser=path, help="Run directory; runs/NAME by default.")] = None,
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run on completion.")] = False,
) -> None:
    """Run all stages: nuisances, reference, optimisation, evaluation, report."""
    from causalopt.cli.tables import constraint_table, group_table, summary_table
    from causalopt.processes import is_main, leave
    from causalopt.progress import show_progress
    from causalopt.run.config import load_config
    from causalopt.run.directory import is_finished, stages_of
    from causalopt.run.pipeline import run as run_plan
    from causalopt.run.plan import prepare
    from causalopt.run.stages import reuse_sentence

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    settings = load_config(config, set_ or ())
    directory = out or Path("runs") / config.stem
    check_new_folder(directory)
    if not is_main():
        warnings.simplefilter("ignore", CausalOptWarning)
    plan = prepare(settings)
    done = resume and is_finished(directory)
    with show_progress(stderr) if is_main() else nullcontext(), writing(directory):
        metrics = run_plan(plan, directory, resume=resume, overwrite=overwrite, source=config)
    leave()
    if not is_main():
        return
    if done:
        console.print(
            escaped(f"{directory}: this run is finished; there is nothing to do"), soft_wrap=True, highlight=False
        )
        return
    reused = reuse_sentence(stages_of(directory))
    if reused is not None:
        console.print(escaped(reused), soft_wrap=True, highlight=False)
    for warning in metrics["warnings"]:
        show_warning(warning, CausalOptWarning)
    console.print(summary_table(metrics))
    for table in (constraint_table(metrics), group_table(metrics)):
        if table is not None:
            console.print(table)
    console.print(escaped(metrics["verdict"]), soft_wrap=True)
    if "logged_log_prob" in metrics and metrics["logged_log_prob"] not in metrics["warnings"]:
        console.print(escaped(metrics["logged_log_prob"]), soft_wrap=True)
    if metrics["frontier"] is not None and metrics["frontier"]["sentence"] not in metrics["verdict"]:
        console.print(escaped(metrics["frontier"]["sentence"]), soft_wrap=True)
    console.print(escaped(f"Report: {directory / 'report.html'}"), soft_wrap=True, highlight=False)


@app.command()
def check(config: ConfigArgument, set_: SetOption = None) -> None:
    """Validate a configuration and its data, and show what a run would do; nothing is written."""
    from causalopt.cli.tables import plan_table
    from causalopt.run.config import load_config
    from causalopt.run.plan import prepare

    plan = prepare(load_config(config, set_ or ()))
    console.print(plan_table(plan))
    console.print(escaped(f"{config}: ready to run"), soft_wrap=True, highlight=False)


app.command()(init)
app.command()(estimate)
app.command()(evaluate)
app.command()(compare)
app.command()(frontier)
app.command()(choose)
app.command()(generate)
app.command()(export)
app.command()(simulate)
app.command()(survey)


@app.command()
def report(
    run_directory: RunArgument,
    format_: Annotated[
        Literal["html", "md"], typer.Option("--format", help="html: the page; md: Markdown for papers, report.md.")
    ] = "html",
) -> None:
    """Write a run's report again, as report.html or report.md."""
    from causalopt.report import write_markdown, write_report

    with writing(run_directory / f"report.{format_}"):
        written = (write_markdown if format_ == "md" else write_report)(run_directory)
    console.print(escaped(f"Report: {written}"), soft_wrap=True, highlight=False)


@app.command()
def plugins() -> None:
    """List every installed replaceable part, and the package that provides it."""
    from causalopt.plugins import REGISTRIES

    table = Table("kind", "name", "from")
    for kind, registry in REGISTRIES.items():
        for name in registry.names():
            table.add_row(kind, name, registry.origin(name))
    console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A package in the checkout's benchmarks/.", show_default=False)],
    out: Annotated[
        Path, typer.Option(parser=path, help="Folder for results, summary, table and plots.", show_default=False)
    ],
    quick: Annotated[bool, typer.Option("--quick", help="A small version, in a minute or two.")] = False,
) -> None:
    """Run a benchmark, like `python -m benchmarks.NAME`, which takes further options."""
    from causalopt.cli.checkout import load_benchmark

    load_benchmark(name)([*(["--quick"] if quick else []), "--out", str(out), *context.args])


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
