"""Computes cells: what they share once for each group, then each method's policy, its grade and its own evidence."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import datasets
import numpy as np

from benchmarks.confounding.cells import Cell, Store
from benchmarks.confounding.grading import Grader
from benchmarks.confounding.methods.contract import make_method
from benchmarks.confounding.methods.objectives import ObjectiveMethod
from benchmarks.confounding.methods.oracle import OracleMethod
from benchmarks.confounding.methods.reached import AsARun
from benchmarks.confounding.restriction import OnTexts
from benchmarks.running import Jobs, executor
from causalopt import plugins
from causalopt.backends.contracts import CandidateBackend, Policy, Progress
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.errors import CausalOptError
from causalopt.evaluation import thin_overlap
from causalopt.evaluation.evaluate import evaluate
from causalopt.language_models.quiet import quiet_transformers
from causalopt.progress import track
from causalopt.simulation.contracts import World


def run_cells(cells: Sequence[Cell], store: Store, jobs: Jobs) -> None:
    """Compute the cells that the store lacks, group by group."""
    groups: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if not store.has(cell):
            groups.setdefault(cell.group, {})[cell.key] = cell
    # The largest first, so that the processes end together.
    work = sorted((list(group.values()) for group in groups.values()), key=lambda group: -group[0].n * len(group))
    for _ in track(executor(jobs).map(partial(run_group, store), work), "groups of cells", total=len(work)):
        pass


def run_group(store: Store, cells: Sequence[Cell]) -> None:
    """Compute cells that share a world, a sample and a reference, and keep each as soon as it is done."""
    first = cells[0]
    datasets.disable_progress_bars()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    world: World = plugins.worlds.create({**first.world, "seed": first.seed})
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = plugins.backends.create(first.backend)
        # As in a run: a choice among known texts is about these very texts, and a model that writes about a sample.
        train, test = (world.sample(first.n, draw).with_population(backend.population) for draw in (0, 1))
        if isinstance(backend, CandidateBackend):
            backend = backend.with_candidates(world.texts)
        reference = backend.reference(train.prompts, train.texts, train.weight, seed=0, progress=Progress())
        grader = Grader(world, reference)
        for cell in cells:
            store.write(cell, _compute(cell, world, train, test, reference, grader))


def _compute(
    cell: Cell, world: World, train: DirectOutcomeDataset, test: DirectOutcomeDataset, reference: Policy, grader: Grader
) -> dict[str, Any]:
    method = make_method(cell.spec, world)
    start = time.perf_counter()
    try:
        policy = method.fit(train, reference)
    except CausalOptError as error:
        return {"error": str(error)}
    seconds = time.perf_counter() - start
    numbers, frontier = grader.grade(policy)
    result: dict[str, Any] = {**numbers, "seconds": seconds, "frontier": [asdict(point) for point in frontier]}
    if isinstance(method, OracleMethod):
        result |= grader.far(policy)
    if isinstance(method, AsARun):
        result |= grader.gain_of_all_texts(policy)
        if method.valued:
            result["evaluation_all_texts"] = own_evidence(method, policy, reference, test)
    if isinstance(method, ObjectiveMethod) and method.is_a_run:
        result |= grader.gain_of_all_texts(policy)
        result["evaluation_all_texts"] = own_evidence(method, policy, reference, test)
        if world.prompts is None:
            policy, reference = OnTexts(policy, world.texts), OnTexts(reference, world.texts)
        result["evaluation"] = own_evidence(method, policy, reference, test)
    return result


def own_evidence(
    method: ObjectiveMethod | AsARun, policy: Policy, reference: Policy, test: DirectOutcomeDataset
) -> dict[str, Any]:
    """Return what a run reports of its policy: the difference with its interval, and what would warn a reader."""
    try:
        pseudo = method.pseudo_outcomes(test)
        found = evaluate(policy, pseudo, reference=reference)
    except CausalOptError as error:
        return {"error": str(error)}
    low, high = found.difference.confint(0.95)
    evidence, thin = found.evidence, thin_overlap(found.overlap)
    calibration, balance = evidence.calibration, evidence.balance
    return {
        "nuisance_failed": bool(pseudo.failures),
        "estimate": float(found.difference.value),
        "se": float(found.difference.se),
        "ci_low": float(low),
        "ci_high": float(high),
        "kl_estimate": None if found.kl is None else found.kl.kl,
        "ess_fraction": found.overlap.ess_fraction,
        "thin_overlap": thin is not None,
        "robustness_value": None if evidence.sensitivity is None else evidence.sensitivity.robustness_value(),
        "robustness_value_interval": (
            None if evidence.sensitivity is None else evidence.sensitivity.robustness_value(level=0.95)
        ),
        "placebo_p_value": None if evidence.placebo is None else evidence.placebo.p_value,
        "imbalance": None if balance is None else float((balance["after"] / balance["chance_after"]).max()),
        "miscalibration": None if calibration is None else float(np.abs(calibration["statistic"]).max()),
    }
