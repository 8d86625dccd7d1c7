"""`causalopt compare A B --judge NAME`: its options, and what it prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from causalopt.cli.arguments import path
from causalopt.cli.console import console, escaped
from causalopt.cli.invocation import deliver, print_warnings, progress, say
from causalopt.errors import ConfigError
from causalopt.signatures import MOST_SEED

JudgeSetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="With --judge: a setting, judge.model=NAME or scale=likert (repeatable)."),
]
JudgeCriterionOption = Annotated[
    str | None, typer.Option(help="With --judge: the question; by default from the run's outcome column.")
]
JudgeScoreOption = Annotated[
    Path | None,
    typer.Option(parser=path, help="With --judge outcome-model: rows of its model, as in generate --score."),
]
JudgePromptsOption = Annotated[
    Path | None,
    typer.Option(parser=path, help="With --judge: table of prompts; by default those of the run's test rows."),
]
JudgePromptOption = Annotated[
    str | None, typer.Option(help="With --judge: column of prompts; by default that of the run, or 'prompt'.")
]
JudgeTextOption = Annotated[
    str | None, typer.Option(help="With --judge: column of texts in tables, 'text' by default.")
]
JudgePairsOption = Annotated[int | None, typer.Option(min=1, help="With --judge: at most so many pairs, at random.")]
JudgeSeedOption = Annotated[int | None, typer.Option(min=0, max=MOST_SEED, help="With --judge: seed, 0 by default.")]


@dataclass(frozen=True)
class Judged:
    """The options of a comparison by a judge, as they were given."""

    judge: str
    overrides: list[str]
    criterion: str | None
    score: Path | None
    prompts: Path | None
    prompt: str | None
    text: str | None
    draws: int | None
    pairs: int | None
    seed: int | None


def compare_by_judge(a: str, b: str, judged: Judged, out: Path | None) -> None:
    """Let a judge compare the texts of A and B, and print what it says."""
    from causalopt.run.compared_texts import Plan
    from causalopt.run.judge import judge_config, judge_policies

    if out is None:
        raise ConfigError("--judge needs --out, a folder where texts and answers are kept as they come")
    config = judge_config(judged.judge, judged.overrides, criterion=judged.criterion)
    plan = Plan(
        (a, b), judged.prompts, judged.prompt, judged.text or "text", judged.draws, judged.pairs, judged.seed or 0
    )
    with progress():
        found = judge_policies(plan, config, out, score=judged.score)
    deliver({**found, "out": out})
    print_warnings()
    console.print(_table(found))
    for question in found["questions"].values():
        for sentence in question["sentences"]:
            say(sentence)
    say("A judge is not a reader: what readers do is measured by causalopt evaluate.")
    say(f"Texts and answers: {out}")


def _table(found: dict[str, Any]) -> Table:
    title = f"B against A by {found['judge']['name']} (B: {found['b']['source']}, A: {found['a']['source']})"
    table = Table(
        "question", "win rate of B", "won / tied / lost", "strength", "first position", "unreadable",
        title=escaped(title),
    )  # fmt: skip
    for name, one in found["questions"].items():
        table.add_row(
            name,
            _with_interval(one["win_rate"]),
            f"{one['wins']:,} / {one['ties']:,} / {one['losses']:,}",
            _with_interval(one["preference"]),
            _with_interval(one["first_position"]),
            f"{one['unreadable']:,} of {one['answers']:,}",
        )
    table.caption = (
        f"with {100 * found['level']:g}% intervals; each pair is asked in both orders, and orders that contradict each "
        "other are a tie, which counts half; strength: mean preference for B from 0 to 1; first position: share of "
        "answers for the text shown first, 0.5 without a bias"
    )
    return table


def _with_interval(value: dict[str, float | None]) -> str:
    if value["estimate"] is None:
        return ""
    interval = "" if value["ci_low"] is None else f" ({value['ci_low']:.3f} to {value['ci_high']:.3f})"
    return f"{value['estimate']:.3f}{interval}"
