"""Time and memory of training, the same for every system."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback


def now() -> float:
    """Read the clock, in seconds: on a CPU, where one thread computes, that of this process, whatever else runs.

    On a GPU it is the time that passes.
    """
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Segment:
    """What one system did in one round, its first step left out.

    Attributes
    ----------
    seconds:
        Of all optimiser steps after the first, by `now`.
    wall_seconds:
        The time that passed meanwhile.
    tokens, sequences:
        Real (non-padding) tokens and sequences that got a gradient in them, prompts included.
    precompute_seconds:
        Of what was computed once before training: log-probabilities of the reference.
    peak_bytes:
        On a GPU; None elsewhere.
    """

    seconds: float
    wall_seconds: float
    tokens: int
    sequences: int
    precompute_seconds: float = 0.0
    peak_bytes: int | None = None


@dataclass
class Clock(TrainerCallback):
    """Notes the end of every optimiser step: as a callback of a Trainer, or of a backend."""

    ends: list[tuple[float, float]] = field(default_factory=list)

    def tick(self) -> None:
        self.ends.append((now(), time.perf_counter()))

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.tick()

    def __call__(self, event: str, metrics: Mapping[str, Any]) -> None:
        self.tick()

    def segment(self, tokens: int, sequences: int, precompute_seconds: float = 0.0) -> Segment:
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        seconds, wall = (last - first for first, last in zip(self.ends[0], self.ends[-1], strict=True))
        return Segment(seconds, wall, tokens, sequences, precompute_seconds, peak)
