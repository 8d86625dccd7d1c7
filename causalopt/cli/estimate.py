"""Commands that estimate values: `causalopt estimate`, `evaluate`, `compare`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from causalopt.cli.arguments import path
from causalopt.cli.invocation import asked, deliver, detail, invocation, keep_warning, print_warnings, progress, say
from causalopt.cli.judge import (
    JudgeCriterionOption,
    Judged,
    JudgePairsOption,
    JudgePromptOption,
    JudgePromptsOption,
    JudgeScoreOption,
    JudgeSeedOption,
    JudgeSetOption,
    JudgeTextOption,
    compare_by_judge,
)
from causalopt.durable import write_text
from causalopt.errors import CausalOptWarning, ConfigError
from causalopt.output import check_new_file
from causalopt.run.replacement import FILES, read_manifest, run_of

FEWEST_DRAWS = 20
"""For the plug-in value of a policy."""
RunArgument = Annotated[
    Path, typer.Argument(parser=path, help="Directory of a run, or RUN/comparisons/NAME.", show_default=False)
]
DataOption = Annotated[
    Path | None, typer.Option(parser=path, help="Another table with the same columns; the run's test rows by default.")
]
OutOption = Annotated[Path | None, typer.Option(parser=path, help="Also write the numbers as JSON to this file.")]
DrawsOption = Annotated[
    int | None, typer.Option(min=FEWEST_DRAWS, max=10_000_000, help="Number of texts drawn from each policy.")
]
PolicyLogProbOption = Annotated[
    str | None, typer.Option(help="Column with a policy's log-probabilities of the texts, computed elsewhere.")
]
PolicyTextOption = Annotated[str | None, typer.Option(help="Column with a text that this policy drew for each row.")]
PolicyDrawsOption = Annotated[Path | None, typer.Option(parser=path, help="Table of texts drawn from this policy.")]


def estimate(
    source: Annotated[Path, typer.Argument(parser=path, help="A table, or a YAML configuration.", show_default=False)],
    policy: Annotated[
        str | None,
        typer.Option(
            help="A run, a folder, a PEFT adapter, a hub id, a table of a policy, or 'logged'.", show_default=False
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Compare with this policy, given likewise; by default with the texts as logged.")
    ] = None,
    policy_log_prob: PolicyLogProbOption = None,
    policy_text: PolicyTextOption = None,
    policy_draws: PolicyDrawsOption = None,
    reference_draws: Annotated[
        Path | None, typer.Option(parser=path, help="Table of texts drawn from the reference.")
    ] = None,
    behavior_log_prob: Annotated[
        str | None, typer.Option(help="Column with the log-probabilities of the policy that wrote the logs.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of the texts.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Column of the outcome.")] = None,
    covariate: Annotated[
        list[str] | None, typer.Option(help="Column of a covariate (repeatable).", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a key: section.key=value (repeatable).", show_default=False),
    ] = None,
    out: OutOption = None,
) -> None:
    """Estimate what would happen if everybody read a policy's texts, from a table alone, without optimisation."""
    from causalopt.run.config import load_config, table_config
    from causalopt.run.estimate import estimate_value
    from causalopt.run.keys import input_paths

    given: dict[str, Any] = {
        "data.text": text,
        "data.outcome": outcome,
        "data.covariates": covariate,
        "data.behavior_log_prob": behavior_log_prob,
        "data.policy_log_prob": policy_log_prob,
        "data.policy_text": policy_text,
        "estimate.policy": policy,
        "estimate.policy_draws": None if policy_draws is None else str(policy_draws),
        "estimate.reference": reference,
        "estimate.reference_draws": None if reference_draws is None else str(reference_draws),
    }
    overrides = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None
    ] + (set_ or [])
    is_config = source.suffix.lower() in (".yaml", ".yml")
    config = load_config(source, overrides) if is_config else table_config(source, overrides)
    _check_out(out, source, *input_paths(config).values())
    with progress():
        metrics = estimate_value(config)
    for warning in metrics["warnings"]:
        keep_warning(warning, CausalOptWarning)
    _show(metrics, out)


def evaluate(
    run_directory: RunArgument,
    policy: Annotated[
        str | None,
        typer.Option(help="Another policy: a comparison, a run, a folder, a hub id or a table; by default the run's."),
    ] = None,
    policy_log_prob: PolicyLogProbOption = None,
    policy_text: PolicyTextOption = None,
    policy_draws: PolicyDrawsOption = None,
    data: DataOption = None,
    out: OutOption = None,
    draws: DrawsOption = None,
) -> None:
    """Estimate the value of a policy and of the run's reference, with nuisances fitted on the evaluation rows alone."""
    from causalopt.run.evaluate import evaluate_run

    _check_out(out, data, policy_draws, *_inputs_of(run_directory))
    with progress():
        metrics = evaluate_run(
            run_directory,
            policy=policy,
            data=data,
            draws=draws,
            policy_log_prob=policy_log_prob,
            policy_text=policy_text,
            policy_draws=policy_draws,
        )
    _show(metrics, out)


def compare(
    run_a: Annotated[
        Path, typer.Argument(parser=path, help="A run, RUN/comparisons/NAME, or see --judge.", show_default=False)
    ],
    run_b: Annotated[Path, typer.Argument(parser=path, help="The other one.", show_default=False)],
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, help="Write the numbers as JSON to this file; with --judge, a folder.")
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(min=1, max=10_000_000, help="Texts drawn from each policy; with --judge, for each prompt."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Let a judge compare texts: its name, or a YAML file. A and B may then also be tables of texts, "
            "folders of policies, 'smollm2' or hub ids."
        ),
    ] = None,
    set_: JudgeSetOption = None,
    criterion: JudgeCriterionOption = None,
    score: JudgeScoreOption = None,
    prompts: JudgePromptsOption = None,
    prompt: JudgePromptOption = None,
    text: JudgeTextOption = None,
    pairs: JudgePairsOption = None,
    seed: JudgeSeedOption = None,
) -> None:
    """Estimate the difference of two runs' policies, B minus A, or let a judge compare their texts."""
    from causalopt.run.evaluate import compare_runs

    of_judges = {
        "--set": set_, "--criterion": criterion, "--score": score, "--prompts": prompts, "--prompt": prompt,
        "--text": text, "--pairs": pairs, "--seed": seed,
    }  # fmt: skip
    if judge is not None:
        if data is not None:
            raise ConfigError("--data holds rows with outcomes, which a judge does not read; see --prompts and --score")
        judged = Judged(judge, set_ or [], criterion, score, prompts, prompt, text, draws, pairs, seed)
        compare_by_judge(str(run_a), str(run_b), judged, out)
        return
    for option, value in of_judges.items():
        if value is not None:
            raise ConfigError(f"{option} is an option of --judge; name a judge, or leave it out")
    if draws is not None and draws < FEWEST_DRAWS:
        raise ConfigError(f"--draws must be at least {FEWEST_DRAWS} without --judge, not {draws}")
    _check_out(out, data, *_inputs_of(run_a), *_inputs_of(run_b))
    with progress():
        metrics = compare_runs(run_a, run_b, data=data, draws=draws)
    _show(metrics, out)


def _check_out(out: Path | None, *inputs: Path | None) -> None:
    """Raise if ``--out`` cannot be written, or contains anything except the output of an earlier call.

    Raises
    ------
    ConfigError
        If it is an input or anything else that is not to be lost.
    OutputError
        If there is no such folder, or no permission.
    """
    if out is None:
        return
    check_new_file(out)
    if not out.exists():
        return
    if any(one is not None and one.exists() and one.samefile(out) for one in inputs):
        raise ConfigError(f"{out}: is an input of this command, so it is not overwritten; name another file with --out")
    in_run = out.resolve().name in FILES and read_manifest(out.resolve().parent) is not None
    if in_run or not _holds_numbers(out):
        raise ConfigError(
            f"{out}: already exists and is not the output of an earlier --out, so it is not overwritten; "
            "name another file with --out"
        )


def _inputs_of(run_directory: Path) -> list[Path]:
    """Return the tables of a run; none if there is no run, which is reported later."""
    from causalopt.run.config import load_config
    from causalopt.run.keys import input_paths
    from causalopt.run.saved_files import check_saved

    check_saved(run_directory)
    config = run_of(run_directory) / "config.yaml"
    return list(input_paths(load_config(config)).values()) if config.is_file() else []


def _holds_numbers(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"value", "verdict"} <= found.keys()


def _show(metrics: dict[str, Any], out: Path | None) -> None:
    from causalopt.cli.tables import constraint_table, group_table, metrics_tables
    from causalopt.run.answers import answers

    found = answers(metrics)
    deliver({"answers": asdict(found), "metrics": metrics, "out": out})
    print_warnings()
    if invocation.verbose:
        for table in metrics_tables(metrics):
            detail(table)
        left_out: dict[str, list[str]] = {}
        for name, reason in metrics["not_computed"].items():
            left_out.setdefault(reason, []).append(name)
        for reason, names in left_out.items():
            say(f"Not computed: {', '.join(names)}: {reason}")
        say(metrics["verdict"])
    asked(constraint_table(metrics))
    asked(group_table(metrics))
    if metrics["who_answers"] is not None and not invocation.quiet:
        say(metrics["who_answers"])
    for line in found.lines():
        say(line)
    if out is not None:  # last: a disk that is full costs the file, not the numbers
        write_text(out, json.dumps(metrics, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
