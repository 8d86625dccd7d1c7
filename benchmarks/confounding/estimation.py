"""What methods share within a cell's group, computed once: nuisances, texts drawn from the reference, log q.

Every argument is hashable, data sets and policies by identity, so that a process keeps what its present group needs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Self

from causalopt import plugins
from causalopt.backends.contracts import Policy
from causalopt.behavior import behavior_log_prob
from causalopt.data.dataset import DirectOutcomeDataset
from causalopt.nuisance.outcome.trees import RidgeLightGBMOutcome
from causalopt.optimization.problem import draw_samples
from causalopt.pseudo_outcome import PseudoOutcomeEstimator, PseudoOutcomes
from causalopt.typing import Array, Float64

FOLDS = 5


@plugins.outcome_models.register("text-only")
class TextOnlyOutcome(RidgeLightGBMOutcome):
    """E[Y | x], a reward model as it is commonly fitted: the same regression, which sees no covariate."""

    def fit(self, x: Array, w: Array, y: Float64, weight: Float64) -> Self:
        return super().fit(x, w[:, :0], y, weight)

    def predict(self, x: Array, w: Array) -> Float64:
        return super().predict(x, w[:, :0])

    def marginal(self, x: Array, w_reference: Array, weight_reference: Float64) -> Float64:
        return super().marginal(x, w_reference[:, :0], weight_reference)

    def reader_response(self, x_draws: Array, w: Array) -> Float64:
        return super().reader_response(x_draws, w[:, :0])


@lru_cache(maxsize=12)
def pseudo_outcomes(
    dataset: DirectOutcomeDataset,
    outcome_model: str,
    assignment_model: str,
    outcome_data: DirectOutcomeDataset | None = None,
) -> PseudoOutcomes:
    """Cross-fitted pseudo-outcomes with the default embedder."""
    estimator = PseudoOutcomeEstimator(outcome_model=outcome_model, assignment_model=assignment_model, folds=FOLDS)
    return estimator.fit_transform(dataset, outcome_data=outcome_data)


@lru_cache(maxsize=4)
def reference_samples(reference: Policy, dataset: DirectOutcomeDataset, per_row: int) -> list[list[str]]:
    """``per_row`` texts from the reference for each row."""
    return draw_samples(reference, dataset, per_row, seed=0)


@lru_cache(maxsize=4)
def log_behavior(reference: Policy, dataset: DirectOutcomeDataset) -> Float64:
    """log q of the logged texts, shape [n], nats: logged where it is, else the reference's."""
    return behavior_log_prob(dataset, reference)
