"""One sample, every estimator in every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks.estimators.nuisances import RightAssignment, RightOutcome, WrongAssignment, WrongOutcome
from causalopt.backends.finite import FinitePolicy
from causalopt.evaluation import Estimate, clipped_ipw, dm, dr, dr_os, ipw, sndr, snipw, switch_dr
from causalopt.nuisance.cross_fitting import cross_fit
from causalopt.simulation import FiniteWorld
from causalopt.typing import Float64

DESIGNS = {"randomised": 0.0, "confounded": 0.4}
"""The world's confounding dial in each design."""
THETA = (0.8, 0.4, 0.0, 0.0)
"""The policy whose value is estimated: q tilted by exp(theta' phi), 0.4 nats from q."""
DRAWS_PER_ROW = 2
FOLDS = 5

IMPORTANCE: dict[str, Callable[..., Estimate]] = {"ipw": ipw, "clipped_ipw": clipped_ipw, "snipw": snipw}
DOUBLY_ROBUST: dict[str, Callable[..., Estimate]] = {"dr": dr, "sndr": sndr, "switch_dr": switch_dr, "dr_os": dr_os}


@dataclass(frozen=True)
class Target:
    """A world, the policy to be valued, and its true value."""

    world: FiniteWorld
    policy: FinitePolicy
    truth: float


@cache
def target(design: str) -> Target:
    world = FiniteWorld(confounding=DESIGNS[design], seed=0)
    policy = world.policy(np.array(THETA))
    return Target(world, policy, world.true_value(policy).value)


def replicate(design: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Estimates of one sample of ``n`` rows: a row for each estimator in each cell of the two models.

    Every estimator takes the same doubly robust pseudo-outcome. Where the outcome model is "none" it is s * y, with
    which the importance-weighting estimators are those of the textbooks; "naive" is `snipw` of y itself.
    """
    aim = target(design)
    sample = aim.world.sample_arrays(n, seed)
    log_ratio = aim.policy.candidate_log_prob[sample.text] - aim.world.log_behavior[sample.text]
    rng = np.random.default_rng([seed, n])
    drawn = rng.choice(len(aim.world.texts), size=DRAWS_PER_ROW * n, p=aim.policy.probability)
    fits = {
        (outcome, assignment): cross_fit(
            sample.x,
            sample.w,
            sample.y,
            np.ones(n),
            sample.text,
            outcome_model=outcome_model,
            assignment_model=assignment_model,
            folds=FOLDS,
            seed=seed,
            max_weight=np.inf,
        )
        for outcome, assignment, outcome_model, assignment_model in (
            ("right", "right", RightOutcome(), RightAssignment(aim.world)),
            ("wrong", "wrong", WrongOutcome(), WrongAssignment()),
        )
    }
    rows = [_row(snipw(log_ratio, sample.y), "naive", "none", "none")]
    for assignment in ("right", "wrong"):
        weighted = fits[assignment, assignment].s * sample.y
        rows += [
            _row(estimator(log_ratio, weighted), name, "none", assignment) for name, estimator in IMPORTANCE.items()
        ]
    for outcome in ("right", "wrong"):
        fit = fits[outcome, outcome]
        g_policy = fit.dose_response(aim.world.embedding)[drawn]
        response = fit.reader_response(aim.world.embedding[drawn])
        for assignment in ("right", "wrong"):
            xi = fits[assignment, assignment].s * (sample.y - fit.m) + fit.g
            for name, estimate in _estimates(log_ratio, xi, fit.g, g_policy, response):
                rows.append(_row(estimate, name, outcome, assignment))
    common = {"design": design, "n": n, "replication": seed, "truth": aim.truth}
    return [{**common, **row} for row in rows]


def _estimates(
    log_ratio: Float64, xi: Float64, g: Float64, g_policy: Float64, response: Float64
) -> Iterator[tuple[str, Estimate]]:
    yield "dm", dm(g_policy, reader_response=response)
    for name, estimator in IMPORTANCE.items():
        yield name, estimator(log_ratio, xi, reader_response=response)
    for name, estimator in DOUBLY_ROBUST.items():
        yield name, estimator(log_ratio, xi, g, g_policy, reader_response=response)


def _row(estimate: Estimate, name: str, outcome: str, assignment: str) -> dict[str, Any]:
    low, high = estimate.confint(0.95)
    return {
        "estimator": name,
        "outcome_model": outcome,
        "assignment_model": assignment,
        "estimate": estimate.value,
        "se": estimate.se,
        "ci_low": low,
        "ci_high": high,
    }
