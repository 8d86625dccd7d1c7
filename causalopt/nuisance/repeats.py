"""Repeats of cross-fitting as tasks of an executor."""

from __future__ import annotations

from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd

from causalopt.executors import Executor
from causalopt.nuisance.candidates import CandidateFits

Model = TypeVar("Model")
Fitted = TypeVar("Fitted", covariant=True)


class FitsRepeats(Protocol[Fitted]):
    """Cross-fits a candidate in some repeats."""

    def __call__(self, *, repeats: range) -> Fitted:
        """Fit; arrays and models of other repeats are left empty."""
        ...


def over_repeats(fit: FitsRepeats[CandidateFits[Model]], repeats: int, executor: Executor) -> CandidateFits[Model]:
    """Cross-fit a candidate in all repeats, each of which is a task.

    Parameters
    ----------
    fit:
        One of the functions of `causalopt.nuisance.candidates`, with everything but ``repeats``. It pickles.
    repeats:
        Their number. A single one is fitted in this process, which would only wait for it.
    executor:
        Where they are fitted.
    """
    if repeats == 1:
        return fit(repeats=range(1))
    parts = list(executor.map(partial(_fit_one, fit), range(repeats)))
    return CandidateFits(
        tuple(np.concatenate(arrays) for arrays in zip(*(part.arrays for part in parts), strict=True)),
        [models for part in parts for models in part.models],
        pd.concat([part.scores for part in parts], ignore_index=True),
        tuple(failure for part in parts for failure in part.failures),
    )


def _fit_one(fit: FitsRepeats[CandidateFits[Model]], repeat: int) -> CandidateFits[Model]:
    """Cross-fit in one repeat, and return its row of each array alone."""
    found = fit(repeats=range(repeat, repeat + 1))
    arrays = tuple(array[repeat : repeat + 1].copy() for array in found.arrays)
    return CandidateFits(arrays, [found.models[repeat]], found.scores, found.failures)
