"""The command `causalopt export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from causalopt.cli.arguments import path
from causalopt.cli.invocation import deliver, progress, say


class Dtype(StrEnum):
    """Of the weights that are written."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def export(
    source: Annotated[
        Path, typer.Argument(parser=path, help="Directory of a run, or folder of a policy.", show_default=False)
    ],
    directory: Annotated[Path, typer.Argument(parser=path, help="New folder to write.", show_default=False)],
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter into its base model.")] = False,
    dtype: Annotated[Dtype, typer.Option(help="Of the merged weights; auto is that of the base.")] = Dtype.auto,
    push: Annotated[
        str | None, typer.Option(help="Also upload the folder to this repository of the Hugging Face hub.")
    ] = None,
) -> None:
    """Write a policy for other software: the adapter with its base, or one merged model, with tokenizer and card."""
    from causalopt.errors import ConfigError
    from causalopt.run.export import export as write
    from causalopt.run.export import push as upload

    if dtype != Dtype.auto and not merge:
        raise ConfigError("--dtype is that of merged weights: give --merge with it")
    with progress():
        largest = write(source, directory, merge=merge, dtype=dtype.value)
    off = ""
    if largest is not None:
        off = f"; log-probabilities are within {largest:.2g} nats per token of the adapter's"
    say(f"Wrote {directory}{off}")
    uploaded = None if push is None else upload(directory, push)
    deliver({"directory": directory, "largest_difference_per_token": largest, "uploaded": uploaded})
    if uploaded is not None:
        say(f"Uploaded to {uploaded}")
