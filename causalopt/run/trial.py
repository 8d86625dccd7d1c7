"""How long a run will take and how much memory: its own stages on some of the rows, extrapolated to all of them."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import torch

from causalopt.backends.contracts import Backend, CandidateBackend, PilotedBackend
from causalopt.backends.finite import PER_PROMPT, SHARED
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptError, CausalOptWarning
from causalopt.progress import hidden_progress, track
from causalopt.run.directory import stages_of
from causalopt.run.memory import estimated_memory
from causalopt.run.pipeline import EVALUATION, OPTIMISATION, SAMPLES, TRAIN_ROWS, run, stage_names
from causalopt.run.plan import OutcomeRows, Plan, logged_sets

FIRST = 80
"""Training rows of the first trial."""
LARGER = (8, 4)
"""How many times as many rows a further trial has; the larger if there is time for it."""
SHARE = 0.15
"""Share of the run's expected time that all trials together may take; the first is always carried out."""
MOST = 20.0
"""Seconds that all trials but the first may take."""
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
    taken: float
    seconds: dict[str, float]
    memory: dict[str, float]


def expected_costs(plan: Plan) -> list[StageCost] | None:
    """Carry out small copies of a run in a temporary folder, and extrapolate the cost of each stage to all rows.

    Rows and drawn texts of a copy are the same share of the run's. Copies contain no comparisons: a comparison is taken
    to cost what the run's own policy does. Another copy with more rows is made as long as all of them together take no
    more than `SHARE` of what the run is expected to; see `extrapolated` for what one copy says, and what two say.

    Times are of the processor, on which other programs have no influence, unless others than this process compute: on
    a GPU, or in processes of an executor.

    Returns
    -------
    list of StageCost, or None
        One for each stage, and one for the report; None if so few rows cannot be run.
    """
    trials = list(track(_trials(plan), "small copies of the run"))
    if not trials:
        return None
    largest = estimated_memory(*plan.data_sets().values())
    return [
        StageCost(name, _expected(plan, trials, name), max(largest, *(_memory(one, plan, name) for one in trials)))
        for name in (*stage_names(plan), REPORT)
    ]


def _trials(plan: Plan) -> Iterator[_Trial]:
    rows: int | None = FIRST
    trials: list[_Trial] = []
    while rows is not None:
        with hidden_progress():
            found = _carry_out(plan, min(1.0, rows / len(plan.train)))
        if found is None:
            return
        trials.append(found)
        yield found
        rows = _affordable(plan, trials, rows)


def extrapolated(shares: Sequence[float], seconds: Sequence[float], share: float = 1.0) -> float:
    """Return the time of a stage on a share of the rows, from its times on smaller shares.

    The time is ``a + b share`` with ``a`` and ``b`` at least zero. Two times give both, by the line through the last
    two, and never less than the last time. One time leaves every ``a`` from none to all of it: the time at ``share`` is
    then between the same time and a proportional one, and the geometric mean of these two is returned, which is wrong
    by a factor of ``sqrt(share / shares[0])`` at most.

    Examples
    --------
    >>> from causalopt.run.trial import extrapolated
    >>> extrapolated([0.04], [1.0])  # between 1 and 25 seconds
    5.0
    >>> round(extrapolated([0.04, 0.24], [1.0, 2.0]), 3)
    5.8
    """
    last, latest = shares[-1], seconds[-1]
    if len(shares) == 1:
        return latest * math.sqrt(share / last)
    slope = (latest - seconds[-2]) / (last - shares[-2])
    return latest + max(0.0, slope) * (share - last)


def _affordable(plan: Plan, trials: Sequence[_Trial], rows: int) -> int | None:
    """Return the number of rows of a further trial; None if there is no time for one, or no row is left."""
    if trials[-1].share == 1.0:
        return None
    shares, taken = [one.share for one in trials], [one.taken for one in trials]
    whole = sum(_expected(plan, trials, name) for name in (*stage_names(plan), REPORT))
    left = min(SHARE * whole - sum(taken), MOST - sum(taken[1:]))
    for factor in LARGER:
        if extrapolated(shares, taken, min(1.0, factor * trials[-1].share)) <= left:
            return factor * rows
    return None


def _stand_in(plan: Plan, name: str) -> str:
    """Name of the stage of a trial that costs what a stage of the run does."""
    for other in plan.comparisons:
        like = {f"nuisances of {other}": TRAIN_ROWS, f"comparison {other}": OPTIMISATION}
        like[f"evaluation of {other}"] = EVALUATION
        if name in like:
            return like[name]
    return name


def _expected(plan: Plan, trials: Sequence[_Trial], name: str) -> float:
    """Seconds of a stage of the run."""
    if name == REPORT:
        return trials[-1].seconds[name]  # it does not grow with the rows, and the first one imports libraries
    like = _stand_in(plan, name)
    return extrapolated([one.share for one in trials], [one.seconds.get(like, 0.0) for one in trials])


def _memory(trial: _Trial, plan: Plan, name: str) -> float:
    return trial.memory.get(_stand_in(plan, name), 0.0)


def _carry_out(plan: Plan, share: float) -> _Trial | None:
    small, shared = _shrunk(plan, share), _others_compute(plan)
    with tempfile.TemporaryDirectory(prefix="causalopt-check-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        wall, processor = time.perf_counter(), time.process_time()
        try:
            run(small, Path(folder) / "trial")
        except CausalOptError:
            return None  # too few rows, which a run of all need not be
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        stages = stages_of(Path(folder) / "trial")
    # Of several threads the processor's time is more than the clock's; where other programs compute, it is less.
    taken = wall if shared else min(wall, processor)
    seconds = {one.name: one.seconds if shared else min(one.seconds, one.cpu_seconds) for one in stages}
    seconds[REPORT] = max(0.0, taken - sum(seconds.values()))
    memory = {one.name: one.peak_memory_mb * 2.0**20 for one in stages}
    memory[REPORT] = float(psutil.Process().memory_info().rss)
    return _Trial(share, taken, seconds, memory)


def _others_compute(plan: Plan) -> bool:
    """Whether a run waits for what this process does not compute: a GPU, or other processes."""
    executor = plan.config.executor
    return torch.cuda.is_available() or executor["name"] != "local" or executor.get("processes", 1) > 1


def _shrunk(plan: Plan, share: float) -> Plan:
    """Return the plan on a share of the rows of each data set, with the same share of the draws, and no comparisons.

    Where a comparison alone draws texts from the reference, all of them stay.
    """

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
    alone = replace(plan, comparisons={})
    return replace(
        alone if (SAMPLES in stage_names(alone)) == (SAMPLES in stage_names(plan)) else plan,
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
