"""One data set: a policy chosen under a bound, and what it truly gains and draws in complaints."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import causalopt as co
from benchmarks.constraints.world import best_feasible, sample, texts, truth
from causalopt.backends.finite_policy import FinitePolicy
from causalopt.errors import CausalOptWarning

TRAIN, CHOOSE = 4000, 2000
"""Rows that train a policy, and rows that choose it."""
KL = 1.0
"""Largest KL of a policy to the reference, nats: of all paths, and of the best feasible policy."""
EMBEDDER = {"name": "tfidf-svd", "dimensions": 20, "ngram_max": 1}
"""A dimension for each word: effects are linear in the words, and so is the policy."""
BOUNDS = {"conflict": 0.23, "reference fails": 0.18}
"""Largest share of complaints. The reference's is some 0.205, that of the best policy without a bound 0.29."""


def replicate(cell: str, penalised: bool, seed: int) -> list[dict[str, Any]]:
    """Gain and complaints of the policy that is chosen for one data set, with the best feasible gain beside them."""
    bound = BOUNDS[cell]
    nuisances = co.PseudoOutcomeEstimator(
        embedder=EMBEDDER, outcome_model="ridge", assignment_model="gaussian", seed=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CausalOptWarning)
        train, choose = (nuisances.fit_transform(sample(n, 2 * seed + k)) for k, n in enumerate((TRAIN, CHOOSE)))
        found = co.optimize(
            train,
            backend={"name": "finite", "candidates": texts(), "embedder": EMBEDDER},
            choose=choose,
            target_kl=KL,
            constraints=[co.Constraint("complaint", at_most=bound)],
            **({} if penalised else {"correlations": ()}),
            seed=seed,
        )
    assert isinstance(found.policy, FinitePolicy)
    assert isinstance(found.reference, FinitePolicy)
    assert found.frontier is not None
    gain, complaint = truth()
    policy, reference = found.policy.probability, found.reference.probability
    best = best_feasible(found.reference.candidate_log_prob, gain, complaint, bound, KL)
    log_ratio = found.policy.candidate_log_prob - found.reference.candidate_log_prob
    return [
        {
            "cell": cell,
            "penalised": penalised,
            "seed": seed,
            "bound": bound,
            "gain": float((policy - reference) @ gain),
            "best_feasible_gain": np.nan if best is None else float(best - reference @ gain),
            "complaints": float(policy @ complaint),
            "complaints_of_reference": float(reference @ complaint),
            "kl": float(policy @ log_ratio),
            "correlation": found.frontier.correlation,
            "is_reference": not found.frontier.chosen,
            "said_of_reference": found.frontier.reference_fails,
            "sentence": found.frontier.sentence,
        }
    ]
