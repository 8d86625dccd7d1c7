"""The command line; the commands that estimate values are in `causalopt.cli.estimate`."""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from causalopt import __version__
from causalopt.cli.arguments import path
from causalopt.cli.checkout import complete as complete_benchmark
from causalopt.cli.choose import choose
from causalopt.cli.console import console, leave_quietly
from causalopt.cli.design import design
from causalopt.cli.ending import FULL, Application, Commands, Interrupted, fail, kept_traceback, prepare_streams
from causalopt.cli.estimate import compare, estimate, evaluate
from causalopt.cli.examples import exit_codes
from causalopt.cli.export import export
from causalopt.cli.frontier import frontier
from causalopt.cli.generate import generate
from causalopt.cli.init import init
from causalopt.cli.invocation import asked, deliver, detail, invocation, keep_warning, print_warnings, progress, say
from causalopt.cli.runs import runs
from causalopt.cli.simulate import simulate
from causalopt.cli.survey import survey
from causalopt.errors import CausalOptError, CausalOptWarning, ConfigError, one_line
from causalopt.output import check_new_folder, writing

app = Application(
    cls=Commands,
    help="Optimise language models on direct outcome data, as a causal problem.",
    epilog=exit_codes(),
    no_args_is_help=True,
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
    """Run the command line: whatever goes wrong is one line on standard error, and so is each warning, at the end.

    The exit codes are those of `causalopt.cli.examples.EXIT_CODES`.
    """
    warnings.showwarning = keep_warning
    prepare_streams()
    try:
        try:
            app(prog_name="causalopt")
        finally:
            sys.stdout.flush()
    except CausalOptError as error:
        fail(str(error), 2, type(error).__name__)
    except (KeyboardInterrupt, Interrupted):
        fail("interrupted", 130, "Interrupted")
    except BrokenPipeError:
        leave_quietly()
    except MemoryError as error:
        fail(f"memory is not enough ({one_line(error)}): use fewer rows, texts, draws or dimensions", 2, "MemoryError")
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:  # of standard output, which may be a file
            fail(f"the output cannot be written: {one_line(error)}; make room on that disk", 2, "OutputError")
        line = f"this is a fault of causalopt ({one_line(error)}); its traceback is in {kept_traceback(error)}"
        fail(line, 1, type(error).__name__)


@app.command()
def run(
    config: ConfigArgument,
    out: Annotated[Path | None, typer.Option(parser=path, help="Run directory; runs/NAME by default.")] = None,
    set_: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run on completion.")] = False,
) -> None:
    """Run all stages, from a table to a better model, with the evidence that it is better."""
    from causalopt.processes import is_main, leave
    from causalopt.run.config import load_config
    from causalopt.run.directory import is_finished
    from causalopt.run.pipeline import run as run_plan
    from causalopt.run.plan import prepare

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    settings = load_config(config, set_ or ())
    directory = out or Path("runs") / config.stem
    check_new_folder(directory)
    if not is_main():
        warnings.simplefilter("ignore", CausalOptWarning)
    plan = prepare(settings)
    done = resume and is_finished(directory)
    with progress() if is_main() else nullcontext(), writing(directory):
        metrics = run_plan(plan, directory, resume=resume, overwrite=overwrite, source=config)
    leave()
    if is_main():
        _close(metrics, directory, done=done)


def _close(metrics: dict[str, Any], directory: Path, *, done: bool) -> None:
    """Print what was warned of, the three answers, and where everything is."""
    from causalopt.cli.tables import constraint_table, group_table, metrics_tables, stage_table
    from causalopt.run.answers import answers
    from causalopt.run.directory import stages_of
    from causalopt.run.stages import reuse_sentence

    report, stages, found = directory / "report.html", stages_of(directory), answers(metrics, directory)
    deliver(
        {
            "directory": directory,
            "report": report,
            "policy": directory / "policy",
            "answers": asdict(found),
            "metrics": metrics,
            "stages": [
                {name: vars(one)[name] for name in ("name", "seconds", "peak_memory_mb", "reused")} for one in stages
            ],
        }
    )
    if done:
        say(f"{directory}: this run is finished; there is nothing to do")
        return
    for warning in metrics["warnings"]:
        keep_warning(warning, CausalOptWarning)
    print_warnings()
    if invocation.verbose:
        detail(stage_table(stages))
        for table in metrics_tables(metrics):
            detail(table)
        say(metrics["verdict"])
    asked(constraint_table(metrics))
    asked(group_table(metrics))
    reused = reuse_sentence(stages)
    notes = [reused, metrics.get("logged_log_prob"), (metrics["frontier"] or {}).get("sentence")]
    for note in notes:
        if note is not None and note not in metrics["warnings"] and not invocation.quiet:
            say(note)
    for line in found.lines():
        say(line)
    say(f"Report: {report}")


@app.command()
def check(
    config: ConfigArgument,
    set_: SetOption = None,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Whether to measure how long a run will take.")
    ] = True,
) -> None:
    """Validate a configuration and its data; say what a run would do, cost and be able to show. Nothing is written."""
    from causalopt.cli.tables import outlook_table, plan_table
    from causalopt.run.config import load_config
    from causalopt.run.expectation import expect
    from causalopt.run.plan import prepare

    plan = prepare(load_config(config, set_ or ()))
    with progress():
        found = expect(plan, timing=timing, start=time.process_time())
    deliver({"configuration": config, **found.to_dict()})
    console.print(plan_table(plan, every_setting=invocation.verbose))
    console.print(outlook_table(found))
    for sentence in found.sentences():
        say(sentence)
    say(f"{config}: ready to run")


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
app.command()(runs)
app.command()(design)


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
    deliver({"report": written})
    say(f"Report: {written}")


@app.command()
def plugins() -> None:
    """List every installed replaceable part, and the package that provides it."""
    from causalopt.plugins import REGISTRIES

    table, found = Table("kind", "name", "from"), []
    for kind, registry in REGISTRIES.items():
        for name in registry.names():
            table.add_row(kind, name, registry.origin(name))
            found.append({"kind": kind, "name": name, "from": registry.origin(name)})
    deliver({"plugins": found})
    console.print(table)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def benchmark(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Name of the benchmark.", autocompletion=complete_benchmark, show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="Folder for results, summary, table and plots.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version, in a minute or two.")] = False,
    options: Annotated[bool, typer.Option("--options", help="Show the benchmark's own options.")] = False,
) -> None:
    """Run a benchmark, like `python -m benchmarks.NAME`, with the options that it takes itself (--options)."""
    from causalopt.cli.checkout import load_benchmark

    main_of = load_benchmark(name)
    if out is None and not options:
        raise ConfigError("name a folder for the results with --out")
    arguments = ["--help"] if options else [*(["--quick"] if quick else []), "--out", str(out), *context.args]
    # What a benchmark prints is not the document of --json.
    with redirect_stdout(sys.stderr) if invocation.as_json else nullcontext():
        try:
            main_of(arguments)
        except SystemExit as ending:  # of its own options: it has printed them, or what is wrong with those given
            raise typer.Exit(ending.code if isinstance(ending.code, int) else 2) from None
    deliver({"directory": out})


@app.command()
def version() -> None:
    """Print the version."""
    deliver({"version": __version__})
    say(__version__)
