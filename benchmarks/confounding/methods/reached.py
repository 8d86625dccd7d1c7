"""What a run with the defaults leaves: a policy whose distance from the reference was chosen without the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from benchmarks.confounding.estimation import reference_samples
from causalopt import plugins
from causalopt.backends.contracts import Policy, Progress
from causalopt.backends.finite import FiniteBackend, FinitePolicy
from causalopt.backends.huggingface import HuggingFaceBackend
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.objectives.contract import Objective
from causalopt.optimization.frontier import frontier
from causalopt.optimization.optimize import fit_policy
from causalopt.optimization.path import at
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes

APART = 0.2
"""Share of the rows by which a point of the path is chosen, as in a run (``choose.size``)."""
PER_ROW = 2
"""Texts drawn from the reference for each row, as in a run (``samples.per_row``)."""


@dataclass(frozen=True)
class AsARun:
    """An objective with the package's own defaults: a fit on four fifths of the rows, and a choice on the others.

    Every setting that is not given is the package's default, as in `causalopt.optimize` with ``choose``; the reference
    alone is the one that all methods share, and decides the backend: a choice among known texts, or a language model.

    Attributes
    ----------
    objective:
        Name and settings of a registered objective.
    training:
        Settings of `transformers.TrainingArguments`; of no effect on a choice among known texts.
    valued:
        Whether the chosen policy is valued on new rows too, with an interval.
    seed:
        Of the division of the rows, the draws and the fit.
    """

    objective: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    valued: bool = True
    seed: int = 0

    def pseudo_outcomes(self, dataset: DirectOutcomeDataset) -> PseudoOutcomes:
        """Pseudo-outcomes of any rows by the default nuisance models."""
        return _default_pseudo_outcomes(dataset)

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        objective: Objective = plugins.objectives.create(self.objective)
        rows, apart = _set_apart(dataset, self.seed)
        samples: Sequence[Sequence[str]] = reference_samples(reference, rows, PER_ROW)
        end = fit_policy(
            self.pseudo_outcomes(rows),
            objective,
            FiniteBackend() if isinstance(reference, FinitePolicy) else HuggingFaceBackend(training=self.training),
            reference,
            samples,
            behavior_policy=None,
            seed=self.seed,
            progress=Progress(),
        )
        found = frontier(end, reference, self.pseudo_outcomes(apart), seed=self.seed)
        return at(end, reference, found.chosen)


@lru_cache(maxsize=4)
def _set_apart(dataset: DirectOutcomeDataset, seed: int) -> tuple[DirectOutcomeDataset, DirectOutcomeDataset]:
    return dataset.split(test_size=APART, seed=seed)


@lru_cache(maxsize=6)
def _default_pseudo_outcomes(dataset: DirectOutcomeDataset) -> PseudoOutcomes:
    return PseudoOutcomeEstimator().fit_transform(dataset)
