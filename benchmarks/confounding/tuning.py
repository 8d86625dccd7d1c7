"""Hyperparameters of every method by the same budget of trials, on validation seeds that no test uses.

A trial is a setting drawn without replacement from the method's grid, the same number for each method; its score is
the true value gained at the common KL (`benchmarks.confounding.grading`), averaged over the validation seeds, in the
template world *without* confounding, times the probability that the policy keeps on the world's texts: any other text
counts as no gain. There every method's assumptions hold: none is tuned against what it cannot know.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.confounding.catalogue import CATALOGUE, SPACES, with_settings
from benchmarks.confounding.cells import Cell, Store
from benchmarks.confounding.grading import COMMON_KL
from benchmarks.confounding.parts import Design, template
from benchmarks.confounding.running import run_cells
from benchmarks.running import Jobs

TRIALS = 8
VALIDATION_SEEDS = (1000, 1001)
STRENGTH = 0.0


def tune(store: Store, path: Path, methods: Sequence[str], jobs: Jobs, command: str) -> dict[str, Any]:
    """Run the trials, write ``path``, and return what it holds: the budget, every trial with its score, the chosen.

    What ``path`` holds of other methods is kept.
    """
    n = Design().sizes[0]
    cells: dict[str, list[list[Cell]]] = {}
    for label in methods:
        cells[label] = [
            [
                Cell("tuning", "template", template(confounding=STRENGTH), STRENGTH, n, seed, label, spec)
                for seed in VALIDATION_SEEDS
            ]
            for spec in (with_settings(CATALOGUE[label], settings) for settings in trials(label))
        ]
    run_cells([cell for by_trial in cells.values() for trial in by_trial for cell in trial], store, jobs)
    scores = {label: [_score(store, trial) for trial in by_trial] for label, by_trial in cells.items()}
    best = {label: int(np.argmax(found)) for label, found in scores.items()}
    before: dict[str, Any] = {"commands": [], "chosen": {}, "trials": {}}
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
    result = {
        "commands": [*before["commands"], command],
        "budget": {
            "trials_per_method": TRIALS,
            "validation_seeds": list(VALIDATION_SEEDS),
            "world": template(confounding=STRENGTH),
            "rows": n,
            "score": f"mean true value gained at {COMMON_KL} nats from the reference times mass, outcome units",
        },
        "chosen": before["chosen"] | {label: trials(label)[i] for label, i in best.items()},
        "trials": before["trials"]
        | {
            label: [
                {**settings, "score": round(score, 8)} for settings, score in zip(trials(label), found, strict=True)
            ]
            for label, found in scores.items()
        },
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def trials(label: str) -> list[dict[str, Any]]:
    """Settings of a method's trials: the whole grid where it has no more than `TRIALS` points."""
    space = SPACES[label]
    grid = [dict(zip(space, point, strict=True)) for point in itertools.product(*space.values())]
    rng = np.random.default_rng(0)
    return [grid[i] for i in rng.permutation(len(grid))[:TRIALS]]


def _score(store: Store, cells: Sequence[Cell]) -> float:
    """Mean gain at the common KL times mass; a trial that failed on a seed scores below any other."""
    found = [store.read(cell) for cell in cells]
    return float(np.mean([-9.0 if "error" in result else result["gain_common"] * result["mass"] for result in found]))
