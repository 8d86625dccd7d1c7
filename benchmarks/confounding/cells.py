"""One cell of the table, and the folder that keeps finished cells."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEST_SHARE = 0.5
"""Rows of a fresh sample on which a run's policy is valued, as a share of the rows that it was tuned on."""


@dataclass(frozen=True)
class Cell:
    """A method in a world with a sample; cells of several parts that are alike are computed once.

    Attributes
    ----------
    part:
        Which question of the benchmark it belongs to.
    world:
        Name and dials of a registered world, without its seed; ``label`` is what tables call it.
    strength:
        The world's confounding, where it has such a dial.
    n, seed:
        Rows of the sample; the seed draws the world and the sample.
    backend:
        Makes the reference that all methods of the group start at.
    method, spec:
        What tables call the method, and how it is made (`benchmarks.confounding.methods.contract.make_method`).
    """

    part: str
    label: str
    world: Mapping[str, Any]
    strength: float
    n: int
    seed: int
    method: str
    spec: Mapping[str, Any]
    backend: str = "huggingface"

    @property
    def group(self) -> str:
        """Cells of one group share data, reference policy and nuisances."""
        return _digest([self.world, self.backend, self.n, self.seed])

    @property
    def key(self) -> str:
        """Names all that decides the cell's result."""
        return _digest([self.world, self.backend, self.n, self.seed, self.spec])

    def columns(self) -> dict[str, Any]:
        """Return what identifies the cell in the table of results."""
        return {
            "part": self.part,
            "world": self.label,
            "strength": self.strength,
            "n": self.n,
            "seed": self.seed,
            "method": self.method,
        }


@dataclass(frozen=True)
class Store:
    """A folder with one JSON file for each finished cell, written whole or not at all."""

    folder: Path

    def has(self, cell: Cell) -> bool:
        return self._path(cell).exists()

    def read(self, cell: Cell) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self._path(cell).read_text(encoding="utf-8"))
        return result

    def write(self, cell: Cell, result: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        made_of = {"world": dict(cell.world), "n": cell.n, "seed": cell.seed, "method": dict(cell.spec)}
        partial = self.folder / f".{cell.key}.{os.getpid()}"
        partial.write_text(json.dumps({"cell": made_of, **result}, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path(cell))

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key}.json"


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
