"""Methods of this package: an objective of `causalopt.objectives` on pseudo-outcomes, by the language-model backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.confounding.estimation import log_behavior, pseudo_outcomes, reference_samples
from causalopt import plugins
from causalopt.backends.contracts import Backend, Policy, PolicyProblem, Progress
from causalopt.backends.finite import FiniteBackend, FinitePolicy
from causalopt.backends.huggingface import HuggingFaceBackend
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.objectives.contract import Objective
from causalopt.optimization.problem import policy_problem
from causalopt.pseudo_outcome import PseudoOutcomes
from causalopt.simulation.contracts import TwoSampleWorld, World

PER_ROW = 1
"""Texts drawn from the reference for each logged row."""
BATCH = 32
LARGEST_KL = 1.0
"""Nats at which the path of a finite policy ends."""
OUTCOME_ROWS = 2000
"""Rows of a world's second data set."""


@dataclass(frozen=True)
class ObjectiveMethod:
    """An objective on the pseudo-outcomes of two nuisance models.

    Attributes
    ----------
    objective:
        Name and settings of a registered objective.
    outcome_model, assignment_model:
        Registered names. "zero" and "randomized" leave the raw outcome; "text-only" and "randomized" the reward model
        of ordinary RLHF, which sees no covariate.
    learning_rate, epochs, seed:
        Of the optimisation.
    refresh_every:
        Optimiser steps after which the g term gets new texts from the policy; None keeps the reference's.
    outcome_data:
        A second data set, to which the outcome model is fitted in place of the rows; a world that has one gives it.
    """

    objective: Mapping[str, Any]
    outcome_model: str = "ridge-lightgbm"
    assignment_model: str = "gaussian"
    learning_rate: float = 1e-3
    epochs: float = 2
    seed: int = 0
    refresh_every: int | None = None
    outcome_data: DirectOutcomeDataset | None = None

    def with_world(self, world: World) -> ObjectiveMethod:
        if not isinstance(world, TwoSampleWorld):
            return self
        return replace(self, outcome_data=world.sample_outcome_data(OUTCOME_ROWS, 0))

    @property
    def is_a_run(self) -> bool:
        """Whether its policy is also valued off-policy, as a run values it: dr_cpo, and what adjusts for readers."""
        adjusts = self.outcome_model not in ("zero", "text-only") or self.assignment_model != "randomized"
        return self.objective["name"] in ("dr_cpo", "cpo", "oo_rlhf") and (
            adjusts or self.objective["name"] == "dr_cpo"
        )

    def pseudo_outcomes(self, dataset: DirectOutcomeDataset) -> PseudoOutcomes:
        """Pseudo-outcomes of any rows by this method's nuisance models."""
        return pseudo_outcomes(dataset, self.outcome_model, self.assignment_model, self.outcome_data)

    def fit(self, dataset: DirectOutcomeDataset, reference: Policy) -> Policy:
        objective: Objective = plugins.objectives.create(self.objective)
        samples = reference_samples(reference, dataset, PER_ROW) if objective.needs_samples else None
        problem = policy_problem(
            self.pseudo_outcomes(dataset),
            log_behavior(reference, dataset),
            samples,
            second_stage=objective.second_stage,
        )
        return maximize(
            problem, objective, reference, self.learning_rate, self.epochs, self.seed, refresh_every=self.refresh_every
        )


def maximize(
    problem: PolicyProblem,
    objective: Objective,
    reference: Policy,
    learning_rate: float,
    epochs: float,
    seed: int,
    *,
    refresh_every: int | None = None,
) -> Policy:
    """Start at the reference and maximise an objective with the settings that all methods of this package share.

    A finite reference is tuned exactly, where a learning rate and epochs mean nothing.
    """
    backend: Backend
    if isinstance(reference, FinitePolicy):
        backend = FiniteBackend(max_kl=LARGEST_KL)
    else:
        training = {"per_device_train_batch_size": BATCH, "learning_rate": learning_rate, "num_train_epochs": epochs}
        backend = HuggingFaceBackend(training=training, refresh={"every_steps": refresh_every})
    return backend.fit(problem, objective, reference=reference, seed=seed, progress=Progress())
