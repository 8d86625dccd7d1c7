"""The parts of the benchmark: which methods meet which worlds, and on which seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.confounding.catalogue import CATALOGUE, NAIVE, RUNS, SETTINGS, method_spec
from benchmarks.confounding.cells import Cell

REVERSING = 1.0
"""The template world's dial at which naive effects have the wrong sign."""


@dataclass(frozen=True)
class Design:
    """Sizes of a run.

    Attributes
    ----------
    strengths:
        Confounding of the template world in the part "strength".
    sizes:
        Rows; the first is that of every part, the others are met in the part "size".
    seeds:
        Test seeds: each draws a world and a sample. Seeds below 200 were looked at during development.
    methods:
        Labels.
    own:
        Settings of the user's own methods, by name; see `benchmarks.confounding.own.own_methods`.
    parts:
        Names in `PARTS`.
    reached_sizes, reached_seeds:
        Rows and test seeds of the part "reached"; the seeds are also those of "reached texts". They are its own: the
        others were looked at before it was there.
    settings, validation_seeds:
        Labels and seeds of the part "settings", by which defaults are decided.
    texts, text_column:
        A table of real texts for the parts on texts, and its column; without one they are empty.
    """

    strengths: tuple[float, ...] = (0.0, 0.35, 0.65, REVERSING)
    sizes: tuple[int, ...] = (2000, 500)
    seeds: tuple[int, ...] = tuple(range(200, 210))
    methods: tuple[str, ...] = tuple(CATALOGUE)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parts: tuple[str, ...] = (
        "strength", "size", "paper", "grid", "failures", "traffic", "texts", "reached", "reached texts",
    )  # fmt: skip
    reached_sizes: tuple[int, ...] = (2000, 8000)
    reached_seeds: tuple[int, ...] = tuple(range(300, 310))
    settings: tuple[str, ...] = (*SETTINGS, "oracle")
    validation_seeds: tuple[int, ...] = tuple(range(1000, 1010))
    texts: str | None = None
    text_column: str = "text"


QUICK = Design(
    strengths=(0.0, REVERSING),
    sizes=(1000,),
    seeds=(0, 1),
    methods=("dr_cpo", "cpo", "oo_rlhf", "cpo_naive", "sft_top", "kto", "oracle"),
    parts=("strength", "paper", "grid", "reached"),
    reached_sizes=(1000,),
    reached_seeds=(0, 1),
)

FEW = ("dr_cpo", "dr_cpo_raw", "cpo", "oo_rlhf", "cpo_naive", "kto", "oracle")
"""Methods of the parts that need no full table."""

WRONG = {"outcome_model": "text-only", "assignment_model": "randomized"}
"""Each blind to the readers: an outcome model that sees the text alone, and an assignment that takes s for 1."""

PAPER: dict[str, dict[str, Any]] = {
    "contaminated outcome model": {"beta": 2.0, "strength": 2.0},
    "honest outcome model": {"beta": 0.0, "strength": 2.0},
}
PAPER_METHODS = ("dr_cpo", "dr_cpo_raw", "oo_rlhf", "cpo_naive", "oracle")
"""In an experiment `cpo_naive`, which takes the outcome as it is, is the paper's CPO."""

FINITE_METHODS = ("dr_cpo", "dr_cpo_raw", "cpo", "oo_rlhf", "cpo_naive", "oo_rlhf_naive", "sft_top", "rwr", "oracle")
"""Methods that can tune a choice among known texts as well as a language model."""
REACHED_METHODS = (*RUNS, "grpo", *NAIVE, "oracle")
"""Methods of the part "reached": of our objectives those that are somebody's default, and all others."""
MOST_TEXTS = 1000
"""Distinct texts of a table that are kept, drawn anew by each seed."""

FAILURES: dict[str, dict[str, Any]] = {
    "thin overlap": {"confounding": 3.0, "overlap": 0.05},
    "hidden confounder": {"confounding": REVERSING, "unmeasured": 0.8},
}


def template(**dials: Any) -> dict[str, Any]:
    """Return the template world's settings."""
    return {"name": "template", **dials}


def real_texts(design: Design) -> dict[str, Any]:
    """Return the settings of a world of the design's real texts."""
    return {"name": "semi-synthetic", "path": design.texts, "text": design.text_column, "texts": MOST_TEXTS}


def _cells(
    part: str,
    label: str,
    world: Mapping[str, Any],
    n: int,
    seeds: Sequence[int],
    methods: Mapping[str, Mapping[str, Any]],
) -> Iterable[Cell]:
    strength = float(world.get("confounding", float("nan")))
    return [
        Cell(part, label, world, strength, n, seed, method, spec) for seed in seeds for method, spec in methods.items()
    ]


def _chosen(design: Design, among: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Methods of the design, restricted to some of the built-in ones; a user's own are always in."""
    ours = {m: method_spec(m) for m in design.methods if among is None or m in among}
    return {**ours, **{name: dict(spec) for name, spec in design.own.items()}}


def _strength(design: Design) -> list[Cell]:
    """From no confounding to confounding that reverses the sign: every method."""
    return [
        cell
        for strength in design.strengths
        for cell in _cells(
            "strength", "template", template(confounding=strength), design.sizes[0], design.seeds, _chosen(design)
        )
    ]


def _size(design: Design) -> list[Cell]:
    """More rows and fewer, where confounding reverses the sign."""
    return [
        cell
        for n in design.sizes
        for cell in _cells("size", "template", template(confounding=REVERSING), n, design.seeds, _chosen(design, FEW))
    ]


def _paper(design: Design) -> list[Cell]:
    """The paper's design: an experiment, and an outcome model from a second data set, contaminated or honest."""
    return [
        cell
        for label, dials in PAPER.items()
        for cell in _cells(
            "paper",
            label,
            {"name": "contaminated", **dials},
            design.sizes[0] // 2,
            design.seeds,
            _chosen(design, PAPER_METHODS),
        )
    ]


def _grid(design: Design) -> list[Cell]:
    """Outcome model right or wrong, assignment model right or wrong: dr_cpo of each pair."""
    methods = {
        f"outcome {outcome}, assignment {assignment}": method_spec(
            "dr_cpo",
            **({"outcome_model": WRONG["outcome_model"]} if outcome == "wrong" else {}),
            **({"assignment_model": WRONG["assignment_model"]} if assignment == "wrong" else {}),
        )
        for outcome in ("right", "wrong")
        for assignment in ("right", "wrong")
    }
    return list(_cells("grid", "template", template(confounding=REVERSING), design.sizes[0], design.seeds, methods))


def _failures(design: Design) -> list[Cell]:
    """Where dr_cpo fails; both models wrong is in the grid."""
    return [
        cell
        for label, dials in FAILURES.items()
        for cell in _cells(
            "failures", label, template(**dials), design.sizes[0], design.seeds, _chosen(design, ("dr_cpo", "oracle"))
        )
    ]


def _traffic(design: Design) -> list[Cell]:
    """Logged traffic of a deployed model whose log-probabilities are kept: a choice of answers to each prompt."""
    return [
        replace(cell, backend="finite")
        for strength in (0.0, REVERSING)
        for cell in _cells(
            "traffic",
            "logged traffic",
            {"name": "logged-traffic", "confounding": strength},
            design.sizes[0],
            design.seeds,
            _chosen(design, FINITE_METHODS),
        )
    ]


def _reached(design: Design) -> list[Cell]:
    """What a user reaches: our methods with their defaults and their own choice, others with what they end at."""
    methods = {name: RUNS.get(name, spec) for name, spec in _chosen(design, REACHED_METHODS).items()}
    return [
        cell
        for n in design.reached_sizes
        for strength in design.strengths
        for cell in _cells("reached", "template", template(confounding=strength), n, design.reached_seeds, methods)
    ]


def _reached_texts(design: Design) -> list[Cell]:
    """The same of a choice among real texts with simulated readers, without confounding."""
    if design.texts is None:
        return []
    methods = {name: RUNS.get(name, spec) for name, spec in _chosen(design, FINITE_METHODS).items()}
    world = {**real_texts(design), "confounding": 0.0}
    cells = _cells("reached texts", "semi-synthetic", world, design.sizes[0], design.reached_seeds, methods)
    return [replace(cell, backend="finite") for cell in cells]


def _settings(design: Design) -> list[Cell]:
    """Settings of the objective and of the fit, one at a time, on validation seeds; on many rows and on few."""
    return [
        cell
        for n in design.sizes
        for strength in (0.0, REVERSING)
        for cell in _cells(
            "settings",
            "template",
            template(confounding=strength),
            n,
            design.validation_seeds,
            {name: method_spec("oracle") if name == "oracle" else SETTINGS[name] for name in design.settings},
        )
    ]


def _texts(design: Design) -> list[Cell]:
    """Real texts with simulated readers: a policy that chooses among them, by the finite backend."""
    if design.texts is None:
        return []
    return [
        replace(cell, backend="finite")
        for strength in (0.0, REVERSING)
        for cell in _cells(
            "texts",
            "semi-synthetic",
            {**real_texts(design), "confounding": strength},
            design.sizes[0],
            design.seeds,
            _chosen(design, FINITE_METHODS),
        )
    ]


PARTS: dict[str, Callable[[Design], list[Cell]]] = {
    "strength": _strength,
    "size": _size,
    "paper": _paper,
    "grid": _grid,
    "failures": _failures,
    "traffic": _traffic,
    "texts": _texts,
    "reached": _reached,
    "reached texts": _reached_texts,
    "settings": _settings,
}


def plan(design: Design) -> list[Cell]:
    """All cells of a run, part by part."""
    return [cell for part in design.parts for cell in PARTS[part](design)]
