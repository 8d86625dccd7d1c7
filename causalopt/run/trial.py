"""How long a run will take and how much memory: its own stages on some of the rows, and a line through the times."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from causalopt.backends.contracts import Backend, CandidateBackend, PilotedBackend
from causalopt.backends.finite import PER_PROMPT, SHARED
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptError, CausalOptWarning
from causalopt.progress import hidden_progress, track
from causalopt.run.directory import stages_of
from causalopt.run.memory import estimated_memory
from causalopt.run.pipeline import run, stage_names
from causalopt.run.plan import OutcomeRows, Plan, logged_sets

TRIALS = (100, 300, 900)
"""Training rows of the trials; the line through the last two times is followed to all rows."""
BUDGETS = (30.0, 5.0)
"""Seconds of computing after which the first trial is the only one, and after which a later one is the last.

The first also imports libraries, so that its time alone would say too much."""
FEWEST_DRAWS = 20
FEWEST_ROWS = 40
REPORT = "report"
"""What a run does after its last stage."""


@dataclass(frozen=True)
class StageCost:
    """What a stage of a run is expected to take.

    Attributes
    ----------
    name:
        The stage.
    seconds:
        Its time on this machine.
    memory:
        Bytes of the process at the most, until the end of the stage.
    """

    name: str
    seconds: float
    memory: float


@dataclass(frozen=True)
class _Trial:
    share: float
    seconds: dict[str, float]
    memory: dict[str, float]


def expected_costs(plan: Plan) -> list[StageCost] | None:
    """Carry out small copies of a run in a temporary folder, and extrapolate the cost of each stage to all rows.

    Rows and drawn texts of a copy are the same share of the run's, so that the time of a stage is taken to be
    ``a + b share``: two copies give both. The copies grow until one has computed for longer than `BUDGETS`; where this
    is the first, ``a`` is taken to be zero, so that the time is too long rather than too short.

    Returns
    -------
    list of StageCost, or None
        One for each stage, and one for the report; None if so few rows cannot be run.
    """
    trials: list[_Trial] = []
    for rows in track(TRIALS, "small copies of the run"):
        # Not the clock: where other programs compute, a copy takes long and is no larger for that.
        began = time.process_time()
        with hidden_progress():
            found = _carry_out(plan, min(1.0, rows / len(plan.train)))
        if found is None:
            break
        trials.append(found)
        if found.share == 1.0 or time.process_time() - began > BUDGETS[len(trials) > 1]:
            break
    if not trials:
        return None
    largest = estimated_memory(*plan.data_sets().values())
    return [
        StageCost(name, _line(trials, name), max(largest, *(one.memory.get(name, 0.0) for one in trials)))
        for name in (*stage_names(plan), REPORT)
    ]


def _line(trials: Sequence[_Trial], name: str) -> float:
    """Seconds of a stage at the full share, by the line through its times; never less than the last of them."""
    last = trials[-1]
    if name == REPORT:
        return last.seconds[name]  # it does not grow with the rows, and the first one imports libraries
    seconds = last.seconds.get(name, 0.0)
    if len(trials) == 1:
        return seconds / last.share
    before = trials[-2]
    slope = (seconds - before.seconds.get(name, 0.0)) / (last.share - before.share)
    return max(seconds, seconds + slope * (1 - last.share))


def _carry_out(plan: Plan, share: float) -> _Trial | None:
    small = _shrunk(plan, share)
    with tempfile.TemporaryDirectory(prefix="causalopt-check-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        began = time.perf_counter()
        try:
            run(small, Path(folder) / "trial")
        except CausalOptError:
            return None  # too few rows, which a run of all need not be
        taken = time.perf_counter() - began
        stages = stages_of(Path(folder) / "trial")
    seconds = {one.name: one.seconds for one in stages}
    seconds[REPORT] = taken - sum(seconds.values())
    memory = {one.name: one.peak_memory_mb * 2.0**20 for one in stages}
    memory[REPORT] = float(psutil.Process().memory_info().rss)
    return _Trial(share, seconds, memory)


def _shrunk(plan: Plan, share: float) -> Plan:
    """Return the plan on a share of the rows of each data set, with the same share of the draws."""

    def some(data: DirectOutcomeDataset | None) -> DirectOutcomeDataset | None:
        return None if data is None else _some_rows(data, share, plan.config.seed)

    def draws(number: int) -> int:
        return max(FEWEST_DRAWS, round(number * share))

    config = plan.config
    choose = config.choose and config.choose.model_copy(update={"draws": draws(config.choose.draws)})
    evaluation = config.evaluation.model_copy(update={"draws": draws(config.evaluation.draws)})
    train, apart, test = some(plan.train), some(plan.apart), some(plan.test)
    assert train is not None
    assert test is not None
    return replace(
        plan,
        config=config.model_copy(update={"choose": choose, "evaluation": evaluation}),
        train=train,
        apart=apart,
        test=test,
        outcome_rows=OutcomeRows(some(plan.outcome_rows.train), some(plan.outcome_rows.test)),
        backend=_backend(plan, [data for data in (train, apart, test) if data is not None]),
    )


def _backend(plan: Plan, data: Sequence[DirectOutcomeDataset]) -> Backend:
    """Return the backend for a trial on ``data``: with its texts as candidates, unless the configuration names some."""
    backend = plan.backend
    if isinstance(backend, PilotedBackend):
        return backend.for_trial(len(plan.train))
    named = plan.config.backend.get("candidates") not in (None, PER_PROMPT, SHARED)
    if not isinstance(backend, CandidateBackend) or plan.world is not None or named:
        return backend
    return backend.with_candidates(sorted({text for one in data for text in one.texts}), logged_sets(data))


def _some_rows(data: DirectOutcomeDataset, share: float, seed: int) -> DirectOutcomeDataset:
    """Return a share of the rows, drawn at random."""
    rows = max(FEWEST_ROWS, round(share * len(data)))
    if rows >= len(data):
        return data
    return data.subset(np.sort(np.random.default_rng(seed).choice(len(data), rows, replace=False)))
