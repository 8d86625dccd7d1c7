"""`causalopt design`: what to randomise and log next, and the size of the experiment that would confirm a model."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from causalopt import plugins
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.diagnostics.power import arm_size, detectable
from causalopt.run.config import RunConfig
from causalopt.run.evaluate import config_of
from causalopt.run.expectation import Expectation
from causalopt.run.plan import read_data
from causalopt.run.rows_config import DataConfig
from causalopt.run.saved_files import read_metrics, read_run_table
from causalopt.typing import Float64

LEVELS = 4
"""Groups of equal size into which a numeric covariate is divided."""
FEW_READINGS = 5
"""Readings below which a text counts as rarely shown."""
LONGEST = 100
"""Characters of a text that are shown."""
SHOWN = 5
"""Entries of a list."""
FEWEST_ROWS = 20
"""Rows of a group of readers of which something is said."""


@dataclass(frozen=True)
class Arms:
    """The size of an experiment of two arms, policy against reference, each reader assigned at random.

    Attributes
    ----------
    difference:
        That the experiment would show, outcome units.
    per_arm:
        Readers in each arm, each with one text drawn for them alone.
    basis:
        Where the difference comes from.
    """

    difference: float
    per_arm: int
    basis: str


@dataclass(frozen=True)
class ThinGroup:
    """Readers who were shown few of the texts that others were shown: the effective share of their rows."""

    readers: str
    rows: int
    effective_share: float


@dataclass(frozen=True)
class RareText:
    """A text that the model writes often and the logs hold seldom."""

    text: str
    share: float
    readings: int


@dataclass(frozen=True)
class Design:
    """What to do next.

    Attributes
    ----------
    source:
        The run or the configuration.
    outcome:
        Name of the outcome.
    outcome_sd:
        Its standard deviation, outcome units.
    arms:
        Sizes of an experiment that would confirm the model.
    rows_needed:
        Rows of a next observational round by which the interval would leave zero out; None without a difference.
    thin_readers, rare_texts:
        Where overlap is thin.
    unseen:
        Share of the model's draws that are no logged text; None if it is not known.
    columns:
        What to log, each a sentence.
    notes:
        Further sentences.
    """

    source: Path
    outcome: str
    outcome_sd: float
    arms: list[Arms]
    rows_needed: int | None
    columns: list[str]
    thin_readers: list[ThinGroup] = field(default_factory=list)
    rare_texts: list[RareText] = field(default_factory=list)
    unseen: float | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        return {**asdict(self), "source": str(self.source), "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """Say what to randomise, how many readers it takes, and what to log."""
        said = [
            "Randomise: show each reader a text of the model or of the reference, by the toss of a coin, drawn anew "
            "for each reader. No assumption about who was shown what is then needed."
        ]
        for one in self.arms:
            said.append(
                f"Size: {one.per_arm:,} readers in each arm show a difference of {one.difference:+.3g} in "
                f"{self.outcome} with 80% power ({one.basis})."
            )
        if self.rows_needed is not None:
            said.append(
                f"Without an experiment, about {self.rows_needed:,} further rows like these for the evaluation alone "
                "would show it with 80% power, if the estimate is right."
            )
        if self.thin_readers:
            named = ", ".join(f"{one.readers} ({one.effective_share:.0%})" for one in self.thin_readers)
            said.append(f"Readers who were shown too few kinds of texts (effective share of their rows): {named}.")
        if self.unseen is not None:
            said.append(f"Of the model's texts {self.unseen:.0%} were never shown to anybody.")
        if self.rare_texts:
            named = ", ".join(f"{shorten(one.text, LONGEST)!r} ({one.readings} readings)" for one in self.rare_texts)
            said.append(f"Texts that the model favours and few have read: {named}.")
        return [*said, *(f"Log {column}" for column in self.columns), *self.notes]


def design_of_run(run_directory: Path) -> Design:
    """Design the experiment after a run, from its estimate and the rows that it was evaluated on.

    Raises
    ------
    CausalOptError
        If this is no finished run, or its files or its data cannot be read.
    """
    config = config_of(run_directory)
    metrics = read_metrics(run_directory / "metrics.json", ("value", "outcome", "level", "direction", "data"))
    world = None if config.data.world is None else plugins.worlds.create(config.data.world)
    train, test = read_data(config, world)
    spread = test.outcome_mean_and_spread()[1]
    found = metrics["value"]["difference"]
    # The end of the interval that is nearer to no difference.
    nearer = min((found["ci_low"], found["ci_high"]), key=abs) if found["ci_low"] * found["ci_high"] > 0 else None
    arms, notes = [], []
    size = arm_size(found["estimate"], spread**2)
    if size is not None:
        arms.append(Arms(found["estimate"], size, "if the estimate is right"))
    bound = None if nearer is None else arm_size(nearer, spread**2)
    if nearer is not None and bound is not None:
        arms.append(Arms(nearer, bound, f"by the end of the {100 * metrics['level']:g}% interval: the safe choice"))
    else:
        notes.append("The interval contains no difference, so that no size is safe: the true one may be smaller.")
    samples, unseen = run_directory / "samples.parquet", None
    rare: list[RareText] = []
    if samples.is_file():
        drawn = read_run_table(samples, ("policy", "text"))
        unseen, rare = _rare_texts(drawn.loc[drawn["policy"] == "policy", "text"], (train, test))
    table = read_run_table(run_directory / "pseudo_outcomes.parquet", ("row", "s"))
    return Design(
        source=run_directory,
        outcome=metrics["outcome"],
        outcome_sd=spread,
        arms=arms,
        rows_needed=_rows_needed(found, len(test)),
        columns=columns_to_log(config.data, train),
        thin_readers=_thin_readers(train, table),
        rare_texts=rare,
        unseen=unseen,
        notes=notes,
    )


def design_of_plan(source: Path, found: Expectation, config: RunConfig) -> Design:
    """Design an experiment before any run: for the gain that a first outcome model holds to be attainable."""
    spread = found.plan.test.outcome_mean_and_spread()[1]
    arms, power = [], found.power
    if power is not None:
        for difference, basis in (
            (power.attainable, f"the most that a model {power.kl:g} nats away could gain, by a first outcome model"),
            (power.smallest_gain, "the smallest that the present rows would show"),
        ):
            size = arm_size(difference, spread**2)
            if size is not None:
                arms.append(Arms(difference, size, basis))
    notes = [] if found.reason is None else [f"What the present rows can show is not known: {found.reason}"]
    return Design(
        source=source,
        outcome=found.plan.train.columns.outcome,
        outcome_sd=spread,
        arms=arms,
        rows_needed=None,
        columns=columns_to_log(config.data, found.plan.train),
        notes=notes,
    )


def columns_to_log(config: DataConfig, data: DirectOutcomeDataset) -> list[str]:
    """Say which columns the next table should have that this one lacks, and what each is for."""
    found = []
    if data.behavior_log_prob is None and data.loggers is None and data.propensities is None:
        found.append(
            "the log-probability of each text under the model that wrote it (data.behavior_log_prob): the distribution "
            "of the logged texts is then known, and not estimated."
        )
    if data.logger is None:
        found.append("which model wrote each text (data.logger), once there are two of them.")
    if data.reader is None:
        found.append("who read it, as a code (data.reader): rows of one reader are not independent.")
    if data.time is None:
        found.append("when it was read (data.time): drift can then be seen, and the last rows kept for the test.")
    if data.observed is None and config.on_missing != "model":
        found.append(
            "texts that were shown and not rated as well (data.observed, or data.on_missing: model): those who answer "
            "may differ from those who do not."
        )
    if not data.covariates.shape[1]:
        found.append("what may drive both the text shown and the response (data.covariates), unless texts are random.")
    return found


def _rows_needed(difference: dict[str, float], rows: int) -> int | None:
    """Rows by which a test finds the difference, as its standard error falls with the square root of their number."""
    if not difference["estimate"] or not difference["se"]:
        return None
    return math.ceil(rows * (detectable(difference["se"]) / difference["estimate"]) ** 2)


def _thin_readers(train: DirectOutcomeDataset, table: pd.DataFrame) -> list[ThinGroup]:
    """Return groups of readers by one covariate with the smallest effective share, (sum s)^2 / (n sum s^2)."""
    if not train.covariates.shape[1]:
        return []
    weights = table.set_index("row")["s"].reindex(train.row)
    kept = weights.notna().to_numpy()  # rows that were set apart have none
    covariates, s = train.covariates[kept], weights.to_numpy(dtype=np.float64)[kept]
    found = []
    for name, column in covariates.items():
        levels = column.reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(levels) and levels.nunique() > LEVELS:
            levels = pd.qcut(levels, LEVELS, duplicates="drop").map(lambda cut: f"{cut.left:.3g} to {cut.right:.3g}")
        for level, rows in levels.astype(str).groupby(levels.astype(str)).indices.items():
            if len(rows) >= FEWEST_ROWS:
                found.append(ThinGroup(f"{name} {level}", len(rows), _share(s[rows])))
    found.sort(key=lambda one: one.effective_share)
    return [one for one in found[:SHOWN] if one.effective_share < 0.5]


def _share(s: Float64) -> float:
    return float(s.sum() ** 2 / (len(s) * (s @ s)))


def _rare_texts(drawn: pd.Series, data: tuple[DirectOutcomeDataset, ...]) -> tuple[float | None, list[RareText]]:
    """Share of the draws that nobody has read, and the draws that are frequent and rarely read."""
    if not len(drawn):
        return None, []
    readings = Counter(text for part in data for text in part.texts)
    counts = Counter(drawn)
    often = [(text, count) for text, count in counts.most_common() if count > 1 and readings[text] < FEW_READINGS]
    rare = [RareText(text, count / len(drawn), readings[text]) for text, count in often[:SHOWN]]
    return sum(count for text, count in counts.items() if not readings[text]) / len(drawn), rare
