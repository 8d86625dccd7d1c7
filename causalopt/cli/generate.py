"""The command `causalopt generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from causalopt.cli.arguments import path
from causalopt.cli.console import stderr
from causalopt.cli.invocation import deliver, invocation, progress, say
from causalopt.errors import ConfigError
from causalopt.output import check_new_file
from causalopt.signatures import MOST_SEED


def generate(
    source: Annotated[
        str, typer.Argument(help="A run, the folder of a policy, 'smollm2' or a hub id.", show_default=False)
    ],
    prompts: Annotated[
        Path | None, typer.Option(parser=path, help="Table of prompts: CSV, TSV, JSON Lines or Parquet.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Its column of prompts; by default that of the run, or 'prompt'.")
    ] = None,
    ask: Annotated[list[str] | None, typer.Option(help="A prompt itself (repeatable).", show_default=False)] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Number of texts to draw (for each prompt).")] = 5,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of every draw.")] = 0,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Limit of a text in tokens; by default that of the policy.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Divides the logits; any other than 1 draws from another distribution.")
    ] = 1.0,
    reference: Annotated[bool, typer.Option("--reference", help="Draw from the reference of the run.")] = False,
    score: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            help="Add g, by an outcome model of the test rows of this run or configuration, or of this table.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=path, help="Table to write (.csv, .jsonl, .parquet); standard output otherwise."),
    ] = None,
) -> None:
    """Draw texts from a policy, for a table of prompts; a command that was killed goes on and gives the same texts."""
    from causalopt.run.generate import (
        check_table,
        draw_texts,
        evaluation_model,
        predicted,
        read_prompts,
        work_of,
        write_table,
    )

    if prompts is not None and ask:
        raise ConfigError("--prompts and --ask exclude each other")
    if prompt is not None and prompts is None:
        raise ConfigError("--prompt names a column of the table --prompts; a prompt itself is given with --ask")
    if ask is not None and not all(one.strip() for one in ask):
        raise ConfigError("--ask: the prompt is empty")
    if not temperature > 0 or temperature == float("inf"):
        raise ConfigError(f"--temperature must be above 0 and finite, not {temperature:g}")
    if out is not None:
        check_new_file(out)
        check_table(out)
    asked = ask if prompts is None else read_prompts(prompts, prompt, source)
    with progress():
        model = None if score is None else evaluation_model(score, source)
        found = draw_texts(
            str(path(source)),
            asked,
            n,
            seed,
            reference=reference,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            work=None if out is None else work_of(out),
            asked_in="--ask" if prompts is None else str(prompts),
        )
        if model is not None:
            found["g"] = predicted(model, found, source)
    if temperature != 1:
        stderr.print(
            f"temperature {temperature:g}: these texts are not draws from the policy that was evaluated", soft_wrap=True
        )
    texts = found.to_json(orient="records", force_ascii=False)
    deliver({"texts": json.loads(texts) if out is None else None, "count": len(found), "out": out})
    if out is None:
        if invocation.as_json:
            return
        for line in found.to_json(orient="records", lines=True, force_ascii=False).splitlines():
            typer.echo(line)
        return
    write_table(found, out)
    say(f"Wrote {out}: {len(found):,} texts")
