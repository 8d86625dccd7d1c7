"""Pairs of texts for a judge: from tables, or drawn from two policies for the same prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from causalopt import plugins
from causalopt.data import files
from causalopt.data.messages import as_prompts
from causalopt.errors import ConfigError, DataError
from causalopt.judges.contracts import Pair
from causalopt.output import impossible, shown_path
from causalopt.run.evaluate import refuse_rows_seen_by
from causalopt.run.generate import config_behind, draw_texts, read_prompts
from causalopt.run.plan import read_data
from causalopt.run.replacement import run_of
from causalopt.simulation.contracts import SimulatedWorld

PER_PROMPT, WITHOUT_PROMPTS = 1, 100
"""Texts that are drawn from each policy by default: for each prompt, and where there are no prompts."""


@dataclass(frozen=True)
class Texts:
    """Texts of one policy, and the prompt of each (None: there are no prompts)."""

    source: str
    prompts: Sequence[str] | None
    texts: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """Where the two sides of the pairs come from.

    Attributes
    ----------
    sources:
        A and B: a table of texts, or a policy as `causalopt generate` takes it.
    prompts, prompt:
        A table of prompts for policies, and its column (None: that of the run, or ``prompt``).
    text:
        Column of texts in tables.
    draws:
        Texts drawn from each policy, for each prompt if there are prompts; None for the defaults above.
    pairs:
        Most pairs; None for all.
    seed:
        Of draws, and of the choice of pairs.
    """

    sources: tuple[str, str]
    prompts: Path | None = None
    prompt: str | None = None
    text: str = "text"
    draws: int | None = None
    pairs: int | None = None
    seed: int = 0


def read_tables(plan: Plan) -> tuple[Texts | None, Texts | None]:
    """Read the sources that are tables; None for a policy.

    Raises
    ------
    DataError
        If a table cannot be used.
    """
    one, other = (_read(source, plan) if is_table(source) else None for source in plan.sources)
    return one, other


def asked_prompts(plan: Plan, tables: tuple[Texts | None, Texts | None]) -> list[str] | None:
    """Return the prompts for which policies draw texts: of a table, or else of a run's test rows; None without any.

    Raises
    ------
    ConfigError
        If an option contradicts a table.
    DataError
        If the rows of one run were seen by the policy of the other.
    """
    table = next(filter(None, tables), None)
    if table is not None:
        if plan.prompts is not None:
            raise ConfigError(f"--prompts: the prompts are those of {table.source}; leave the option out")
        if plan.draws is not None:
            raise ConfigError(f"--draws: as many texts are drawn as {table.source} has; leave the option out")
        return None if table.prompts is None else list(table.prompts)
    if plan.prompts is not None:
        source = next((one for one in plan.sources if config_behind(one) is not None), plan.sources[0])
        asked = read_prompts(plan.prompts, plan.prompt, source)
    elif plan.prompt is not None:
        raise ConfigError("--prompt names a column of a table; give the table with --prompts")
    else:
        known = _prompts_of_runs(plan.sources)
        if known is None:
            return None
        asked = known
    most = None if plan.pairs is None else max(1, plan.pairs // (plan.draws or PER_PROMPT))
    return [asked[i] for i in _some(len(asked), most, plan.seed)]


def pairs_of(
    plan: Plan, tables: tuple[Texts | None, Texts | None], prompts: list[str] | None, work: Sequence[Path]
) -> list[Pair]:
    """Pair A's texts with B's, after drawing those of policies.

    The k-th text of A for a prompt meets the k-th of B; without prompts, the rows meet in their order.

    Parameters
    ----------
    plan, tables, prompts:
        From `read_tables` and `asked_prompts`.
    work:
        Folders for the draws of A and of B, where a draw that was interrupted goes on.

    Raises
    ------
    ConfigError, DataError, ModelError
        If a policy cannot be loaded or drawn from, or the prompts of the two sides differ.
    """
    table = next(filter(None, tables), None)
    if table is None:
        n = plan.draws or (WITHOUT_PROMPTS if prompts is None else PER_PROMPT)
    else:
        n = len(table.texts) if prompts is None else 1  # each row's prompt is asked once
    sides = [
        read or _drawn(source, prompts, n, plan.seed, folder, _named(plan, table))
        for source, read, folder in zip(plan.sources, tables, work, strict=True)
    ]
    pairs = _matched(sides[0], sides[1])
    return [pairs[i] for i in _some(len(pairs), plan.pairs, plan.seed)]


def is_table(source: str) -> bool:
    """Whether a source is, or would be if it existed, a file of texts."""
    path = Path(source)
    return path.is_file() or (not path.exists() and path.suffix.lower() in files.READERS)


def _named(plan: Plan, table: Texts | None) -> str:
    """Say where the prompts are from, for messages."""
    if table is not None:
        return table.source
    return "the run's test rows" if plan.prompts is None else str(plan.prompts)


def _drawn(source: str, prompts: list[str] | None, n: int, seed: int, work: Path, asked_in: str) -> Texts:
    frame = draw_texts(source, prompts, n, seed, work=work, asked_in=asked_in)
    return Texts(source, None if prompts is None else frame["prompt"].tolist(), frame["text"].tolist())


def _read(source: str, plan: Plan) -> Texts:
    reason = impossible(source)
    if reason is not None:
        raise DataError(f"{shown_path(source)}: {reason}; name a table of texts")
    frame, column = files.read_table(Path(source)), plan.prompt or "prompt"
    files.check_texts(frame, [plan.text], source)
    if frame.empty:
        raise DataError(f"{source}: has no row, and so no text")
    prompts = None
    if column in frame and isinstance(frame[column], pd.DataFrame):
        raise DataError(f"{source}: there are several columns {column!r}; rename all but one")
    if plan.prompt is not None or (column in frame and frame[column].notna().any()):
        if column in frame:
            frame = frame.assign(**{column: as_prompts(frame[column].tolist(), f"{source}: column {column!r}")})
        files.check_texts(frame, [column], source)
        prompts = frame[column].tolist()
    return Texts(source, prompts, frame[plan.text].tolist())


def _prompts_of_runs(sources: tuple[str, str]) -> list[str] | None:
    """Return the distinct prompts of the test rows of the first source that is a run; None if no run has prompts."""
    configs = [config_behind(source) for source in sources]
    first = next((i for i, config in enumerate(configs) if config is not None), None)
    if first is None:
        return None
    config = configs[first]
    assert config is not None
    if config.data.columns.prompt is None and config.data.world is None:
        return None
    world: SimulatedWorld | None = None if config.data.world is None else plugins.worlds.create(config.data.world)
    rows = read_data(config, world)[1]
    if rows.prompts is None:
        return None
    own, other = (run_of(Path(sources[i])) for i in (first, 1 - first))
    if own.resolve() != other.resolve():
        refuse_rows_seen_by(rows, [other], "name prompts that neither has seen with --prompts")
    return list(dict.fromkeys(rows.prompts))


def _matched(a: Texts, b: Texts) -> list[Pair]:
    """Pair the texts of both sides, in A's order."""
    if (a.prompts is None) != (b.prompts is None):
        one, other = (a, b) if a.prompts is None else (b, a)
        raise DataError(
            f"{one.source}: has no prompts, and {other.source} has; texts are compared for the same prompts"
        )
    if a.prompts is None or b.prompts is None:
        if len(a.texts) != len(b.texts):
            raise DataError(
                f"{a.source} has {len(a.texts):,} texts and {b.source} {len(b.texts):,}: without prompts they are "
                "compared row by row, so give both as many"
            )
        return [Pair(None, *texts) for texts in zip(a.texts, b.texts, strict=True)]
    counts = Counter(a.prompts), Counter(b.prompts)
    for one, other, own, others in ((a, b, *counts), (b, a, *counts[::-1])):
        missing = [prompt for prompt in own if prompt not in others]
        if missing:
            more = f" (nor for {len(missing) - 1:,} more)" if len(missing) > 1 else ""
            raise DataError(
                f"{other.source}: has no text for the prompt {missing[0][:60]!r} of {one.source}{more}; texts are "
                "compared for the same prompts"
            )
    uneven = next((prompt for prompt in counts[0] if counts[0][prompt] != counts[1][prompt]), None)
    if uneven is not None:
        raise DataError(
            f"the prompt {uneven[:60]!r} has {counts[0][uneven]:,} texts in {a.source} and {counts[1][uneven]:,} in "
            f"{b.source}; give both as many"
        )
    waiting: dict[str, list[str]] = {}
    for prompt, text in zip(reversed(b.prompts), reversed(b.texts), strict=True):
        waiting.setdefault(prompt, []).append(text)
    return [Pair(prompt, text, waiting[prompt].pop()) for prompt, text in zip(a.prompts, a.texts, strict=True)]


def _some(total: int, most: int | None, seed: int) -> list[int]:
    """Positions of at most so many of all, at random and in their order."""
    if most is None or most >= total:
        return list(range(total))
    chosen: list[int] = np.sort(np.random.default_rng(seed).choice(total, most, replace=False)).tolist()
    return chosen
